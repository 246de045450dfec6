"""Pictures without a vendor: drawn here, free, and the same bytes for the same request.

For trying Safelight out and for tests. The picture shows what was asked: its prompt in words, in colours that
belong to that prompt, seed and shape.
"""

from __future__ import annotations

import asyncio
import colorsys
import hashlib
import io
import math
from functools import lru_cache
from typing import Self

from PIL import Image, ImageDraw, ImageFont

from safelight.domain.money import FREE, Cost
from safelight.providers.failures import buyable
from safelight.providers.models import Model, ModelTable
from safelight.providers.provider import (
    Capabilities,
    ImageProvider,
    ImageRequest,
    ImageResult,
)
from safelight.providers.registry import InvalidConfiguration, ProviderConfig

MODEL = "placeholder-1"

_Colour = tuple[int, int, int]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_RATIOS = (
    "1:1",
    "2:3",
    "3:2",
    "3:4",
    "4:3",
    "4:5",
    "5:4",
    "9:16",
    "16:9",
    "21:9",
    "1:4",
    "4:1",
    "1:8",
    "8:1",
)
_SIZES = ("64x64", "128x128", "256x256", "512x512", "768x768", "1024x1024", "1536x1024", "1024x1536")
_CAPABILITIES = Capabilities(
    aspect_ratios=frozenset(_RATIOS),
    sizes=frozenset(_SIZES),
    seed=True,
    negative_prompt=False,
    max_references=14,
    timeout_seconds=30.0,
)
_TABLE = ModelTable(
    vendor="placeholder",
    version="1",
    unbilled_statuses=frozenset(),
    models={MODEL: Model(id=MODEL, capabilities=_CAPABILITIES, price=None)},
)
_DEFAULT_SIDE_PX = 1024

_PAPER: _Colour = (250, 247, 240)
_INK: _Colour = (24, 22, 28)
_CAPTION_MAX_CHARS = 300
_SMALLEST_FONT_PX = 8


class PlaceholderProvider(ImageProvider):
    """Always there, never chosen by itself. Makes no network call, so it holds no client and sends nothing
    billable."""

    @classmethod
    def from_config(cls, name: str, config: ProviderConfig) -> Self:
        """Takes no key, base URL or models. Raises InvalidConfiguration when one is given."""
        if config.api_key or config.base_url or config.models:
            raise InvalidConfiguration(f"provider `{name}` of kind `placeholder` takes no API key, base URL or models")
        return cls()

    def models(self) -> tuple[str, ...]:
        return (MODEL,)

    def capabilities(self, model: str) -> Capabilities:
        return _TABLE.find(model).capabilities

    def estimate(self, request: ImageRequest) -> Cost:
        self.capabilities(request.model)
        return FREE

    async def submit(self, request: ImageRequest) -> ImageResult:
        buyable(request, _TABLE)
        data = await asyncio.to_thread(_draw, request)
        return ImageResult(
            data=data,
            claimed_mime="image/png",
            cost=FREE,
            request_id=request.attempt_key,
            model_version=MODEL,
        )

    async def aclose(self) -> None:
        pass


def _draw(request: ImageRequest) -> bytes:
    """PNG: hills under a sun, a patch of colour for each reference, and below them the prompt on a paper label."""
    width_px, height_px = _dimensions(request)
    shape = request.size or request.aspect_ratio
    seed = hashlib.sha256(f"{request.prompt}\0{request.seed}\0{shape}".encode()).digest()
    picture = _landscape(width_px, height_px, seed)
    _patches(picture, [given.data for given in request.inputs])
    _caption(picture, request.prompt)
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", compress_level=3)
    return encoded.getvalue()


def _dimensions(request: ImageRequest) -> tuple[int, int]:
    """An exact ratio with about a megapixel, so that every shape costs the same to process."""
    if request.size is not None:
        width_px, height_px = request.size.split("x")
        return int(width_px), int(height_px)
    across, down = map(int, (request.aspect_ratio or "1:1").split(":"))
    unit_px = round(_DEFAULT_SIDE_PX / math.sqrt(across * down))
    return across * unit_px, down * unit_px


def _landscape(width_px: int, height_px: int, seed: bytes) -> Image.Image:
    hue = seed[0] / 256
    sky, horizon = _colour(hue, 0.45, 0.62), _colour(hue + 0.12, 0.55, 0.88)
    fade = Image.linear_gradient("L").resize((width_px, height_px))
    picture = Image.composite(Image.new("RGB", fade.size, horizon), Image.new("RGB", fade.size, sky), fade)
    draw = ImageDraw.Draw(picture)
    radius_px = min(width_px, height_px) * (0.08 + seed[1] / 256 * 0.06)
    centre_px = (width_px * (0.2 + seed[2] / 256 * 0.6), height_px * 0.22)
    draw.circle(centre_px, radius_px, fill=_colour(hue + 0.5, 0.7, 0.85))
    for layer in range(3):
        crest_px = height_px * (0.36 + 0.12 * layer)
        swing_px = height_px * (0.05 + seed[3 + layer] / 256 * 0.05)
        phase, waves = seed[6 + layer] / 256 * math.tau, 1 + seed[9 + layer] % 3
        ridge = [
            (x, crest_px + swing_px * math.sin(phase + waves * math.tau * x / width_px))
            for x in range(0, width_px + 8, 8)
        ]
        shade = _colour(hue + 0.5 + seed[12 + layer] / 2048, 0.35, 0.46 - 0.1 * layer)
        draw.polygon([*ridge, (width_px, height_px), (0, height_px)], fill=shade)
    return picture


def _patches(picture: Image.Image, references: list[bytes]) -> None:
    """A row along the top, each in the colour of its bytes: they are a vendor's, and are not decoded here."""
    draw = ImageDraw.Draw(picture)
    side_px = min(picture.height // 10, picture.width // (len(references) + 1))
    for n, data in enumerate(references):
        red, green, blue = hashlib.sha256(data).digest()[:3]
        draw.rectangle((n * side_px, 0, (n + 1) * side_px - 2, side_px - 2), fill=(red, green, blue), outline=_PAPER)


def _colour(hue: float, saturation: float, lightness: float) -> _Colour:
    red, green, blue = colorsys.hls_to_rgb(hue % 1, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _caption(picture: Image.Image, prompt: str) -> None:
    """The largest type that fits the label; what does not fit at the smallest is cut with an ellipsis."""
    margin_px = max(2, min(picture.size) // 32)
    label = (margin_px, round(picture.height * 0.62), picture.width - margin_px, picture.height - margin_px)
    room_px = (label[2] - label[0] - 2 * margin_px, label[3] - label[1] - 2 * margin_px)
    words = " ".join(prompt.split())
    text = words if len(words) <= _CAPTION_MAX_CHARS else words[:_CAPTION_MAX_CHARS] + "…"
    size_px = max(_SMALLEST_FONT_PX, min(room_px) // 3)
    while True:
        font = _font(size_px)
        lines = _wrapped(text, font, room_px[0])
        line_px = round(size_px * 1.3)
        fitting = max(1, room_px[1] // line_px)
        if len(lines) <= fitting or size_px == _SMALLEST_FONT_PX:
            break
        size_px = max(_SMALLEST_FONT_PX, size_px * 7 // 8)
    if len(lines) > fitting:
        lines = [*lines[: fitting - 1], lines[fitting - 1][:-1] + "…"]
    draw = ImageDraw.Draw(picture)
    draw.rectangle(label, fill=_PAPER)
    for number, line in enumerate(lines):
        draw.text((label[0] + margin_px, label[1] + margin_px + number * line_px), line, font=font, fill=_INK)


def _wrapped(text: str, font: _Font, width_px: int) -> list[str]:
    """Broken between words, and inside a word that is wider than a line by itself."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if font.getlength(joined) <= width_px:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width_px:
                lines.append("")
            lines[-1] += letter
    return lines


@lru_cache(maxsize=64)
def _font(size_px: int) -> _Font:
    """Decoding it takes longer than drawing with it."""
    return ImageFont.load_default(size_px)
