"""Ready pictures: each drawn once, in one background thread, and kept as an answer needs it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import Literal

from PIL import Image, ImageChops

from safelight.sandbox.models import RATIO_PX, SIZE_SCALE
from safelight.sandbox.scenes import paint

_MOST_PAINTED_PX = 1_100_000  # larger ones are enlarged, as painting takes a second per megapixel or so


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """How a picture is made into a file. `quality`, 0 to 100, is for JPEG and WebP; a JPEG cannot be transparent."""

    width_px: int
    height_px: int
    form: Literal["png", "jpeg", "webp"] = "png"
    quality: int = 85
    is_transparent: bool = False


PAINTED: ContextVar[list[str]] = ContextVar("safelight.sandbox.painted")
"""Where the SHA-256 of each picture that is handed out goes, for the call that it is made for."""


class Pictures:
    """`count` different pictures per aspect ratio and size; about 1.3 MB of memory for each asked for."""

    def __init__(self, *, count: int) -> None:
        if count < 1:
            raise ValueError("the sandbox needs at least one picture")
        self._count = count
        self._owners: dict[int, bytes] = {}
        self._drawn: dict[tuple[int, str, str], asyncio.Future[str]] = {}
        self._encoded: dict[tuple[int, Sort], asyncio.Future[bytes]] = {}
        self._digests: dict[tuple[int, Sort] | tuple[int, str, str], str] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-pictures")

    async def png_base64(self, prompt: str, *, aspect_ratio: str, size: str) -> str:
        """A PNG. The same prompt always gets the same picture, others different ones while pictures last."""
        key = (self._number(prompt), aspect_ratio, size)
        if key not in self._drawn:
            loop = asyncio.get_running_loop()
            self._drawn[key] = asyncio.ensure_future(loop.run_in_executor(self._thread, _draw, *key))
        drawn = await asyncio.shield(self._drawn[key])
        if key not in self._digests:
            self._digests[key] = hashlib.sha256(base64.b64decode(drawn)).hexdigest()
        PAINTED.get([]).append(self._digests[key])
        return drawn

    async def encoded(self, prompt: str, sort: Sort) -> bytes:
        """A file of exactly that sort. The same prompt always gets the same, others as in `png_base64`."""
        key = (self._number(prompt), sort)
        if key not in self._encoded:
            loop = asyncio.get_running_loop()
            self._encoded[key] = asyncio.ensure_future(loop.run_in_executor(self._thread, _encode, *key))
        encoded = await asyncio.shield(self._encoded[key])
        if key not in self._digests:
            self._digests[key] = hashlib.sha256(encoded).hexdigest()
        PAINTED.get([]).append(self._digests[key])
        return encoded

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _number(self, prompt: str) -> int:
        digest = hashlib.sha256(prompt.encode()).digest()
        first = int.from_bytes(digest[:8])
        for step in range(self._count):
            number = (first + step) % self._count
            if self._owners.setdefault(number, digest) == digest:
                return number
        return first % self._count


@lru_cache(maxsize=64)
def _draw(number: int, aspect_ratio: str, size: str) -> str:
    width_px, height_px = RATIO_PX[aspect_ratio]
    image = paint(number, width_px=width_px, height_px=height_px)
    if (scale := SIZE_SCALE[size]) != 1:
        target = (round(width_px * scale), round(height_px * scale))
        image = image.resize(target, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)
    return base64.b64encode(file.getvalue()).decode("ascii")


@lru_cache(maxsize=64)
def _encode(number: int, sort: Sort) -> bytes:
    scale = min(sqrt(_MOST_PAINTED_PX / (sort.width_px * sort.height_px)), 1.0)
    image = paint(number, width_px=round(sort.width_px * scale), height_px=round(sort.height_px * scale))
    if image.size != (sort.width_px, sort.height_px):
        image = image.resize((sort.width_px, sort.height_px), Image.Resampling.BICUBIC)
    if sort.is_transparent:
        image.putalpha(ImageChops.invert(Image.radial_gradient("L")).resize(image.size))
    file = io.BytesIO()
    match sort.form:
        case "png":
            image.save(file, "PNG", compress_level=3)
        case "jpeg":
            image.save(file, "JPEG", quality=sort.quality)
        case "webp":
            image.save(file, "WEBP", quality=sort.quality, method=0)
    return file.getvalue()
