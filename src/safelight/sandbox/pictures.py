"""Ready pictures: each drawn once, in one background thread, and kept as the base64 text an answer needs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

from PIL import Image

from safelight.sandbox.models import RATIO_PX, SIZE_SCALE
from safelight.sandbox.scenes import paint


class Pictures:
    """`count` different pictures per aspect ratio and size; about 1.3 MB of memory for each asked for."""

    def __init__(self, *, count: int) -> None:
        if count < 1:
            raise ValueError("the sandbox needs at least one picture")
        self._count = count
        self._owners: dict[int, bytes] = {}
        self._drawn: dict[tuple[int, str, str], asyncio.Future[str]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-pictures")

    async def png_base64(self, prompt: str, *, aspect_ratio: str, size: str) -> str:
        """A PNG. The same prompt always gets the same picture, others different ones while pictures last."""
        key = (self._number(prompt), aspect_ratio, size)
        if key not in self._drawn:
            loop = asyncio.get_running_loop()
            self._drawn[key] = asyncio.ensure_future(loop.run_in_executor(self._thread, _draw, *key))
        return await asyncio.shield(self._drawn[key])

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
