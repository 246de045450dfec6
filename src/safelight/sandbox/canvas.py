"""Drawing by light: gradients, glows, beams and silhouettes, then a vignette and film grain."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Color = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """From darkest to brightest, and one colour that is allowed to stand out."""

    ink: Color
    shade: Color
    haze: Color
    light: Color
    accent: Color


PALETTES = (
    Palette(ink=(8, 9, 12), shade=(36, 40, 48), haze=(98, 106, 118), light=(236, 230, 214), accent=(214, 58, 42)),
    Palette(ink=(14, 9, 6), shade=(54, 38, 24), haze=(138, 106, 72), light=(248, 226, 184), accent=(226, 142, 52)),
    Palette(ink=(12, 2, 3), shade=(60, 8, 9), haze=(146, 30, 22), light=(255, 142, 96), accent=(255, 52, 34)),
    Palette(ink=(4, 10, 24), shade=(12, 38, 70), haze=(62, 110, 152), light=(216, 234, 242), accent=(252, 190, 88)),
    Palette(ink=(5, 12, 12), shade=(14, 46, 44), haze=(66, 122, 110), light=(228, 242, 216), accent=(242, 90, 120)),
    Palette(ink=(12, 8, 22), shade=(48, 34, 76), haze=(130, 98, 150), light=(250, 224, 206), accent=(255, 168, 84)),
)
_GRADIENT_EDGE = 180  # Pillow's radial gradient reaches 255 in the corners only
_GRAIN_SIGMA = 2.6  # chosen: grain that is seen, and a 1024 px PNG that stays well under 1.5 MB


class Canvas:
    """Coordinates are fractions of the canvas, sizes fractions of its shorter side."""

    def __init__(self, width_px: int, height_px: int, palette: Palette, rng: random.Random) -> None:
        self.image = Image.new("RGB", (width_px, height_px), palette.ink)
        self.draw = ImageDraw.Draw(self.image)
        self.width, self.height = width_px, height_px
        self.unit = min(width_px, height_px)
        self.palette, self.rng = palette, rng

    def px(self, x: float, y: float) -> Point:
        return x * self.width, y * self.height

    def gradient(self, top: Color, bottom: Color, *, y0: float = 0.0, y1: float = 1.0) -> None:
        box = (
            0,
            round(y0 * self.height),
            self.width,
            max(round(y1 * self.height), round(y0 * self.height) + 1),
        )
        size = (box[2] - box[0], box[3] - box[1])
        mask = Image.linear_gradient("L").resize(size, Image.Resampling.BILINEAR)
        self.image.paste(Image.composite(Image.new("RGB", size, bottom), Image.new("RGB", size, top), mask), box[:2])

    def glow(self, x: float, y: float, radius: float, color: Color, strength: float = 1.0) -> None:
        """Light that fades with the square of the distance."""
        r = max(round(radius * self.unit), 1)
        cx, cy = (round(v) for v in self.px(x, y))
        fade = [round(255 * strength * max(1 - d / _GRADIENT_EDGE, 0) ** 2) for d in range(256)]
        mask = Image.radial_gradient("L").point(fade).resize((2 * r, 2 * r), Image.Resampling.BILINEAR)
        self.image.paste(color, (cx - r, cy - r, cx + r, cy + r), mask)

    def beam(self, points: Sequence[Point], color: Color, strength: float, *, soft: float = 0.01) -> None:
        """A soft-edged patch of light; `points` are fractions."""
        mask = Image.new("L", self.image.size)
        ImageDraw.Draw(mask).polygon([self.px(*p) for p in points], fill=round(255 * strength))
        mask = mask.filter(ImageFilter.BoxBlur(soft * self.unit))
        self.image.paste(color, (0, 0), mask)

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        self.draw.polygon([self.px(*p) for p in points], fill=color)

    def block(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        self.draw.rectangle((*self.px(x0, y0), *self.px(x1, y1)), fill=color)

    def disc(self, x: float, y: float, radius: float, color: Color) -> None:
        (cx, cy), r = self.px(x, y), radius * self.unit
        self.draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=color)

    def line(self, points: Sequence[Point], color: Color, thickness: float) -> None:
        self.draw.line([self.px(*p) for p in points], fill=color, width=max(round(thickness * self.unit), 1))

    def finished(self) -> Image.Image:
        """The picture with softened edges, darker corners and grain."""
        soft = self.image.filter(ImageFilter.GaussianBlur(0.8))
        return _grain(_vignette(soft, self.palette.ink), self.rng)

    def figure(self, x: float, foot: float, height: float, color: Color) -> None:
        """Somebody in a long coat and a hat; `height` is a share of the shorter side."""
        (cx, bottom), h = self.px(x, foot), height * self.unit

        def part(*points: Point) -> None:
            self.draw.polygon([(cx + px * h, bottom - py * h) for px, py in points], fill=color)

        def oval(px: float, py: float, rx: float, ry: float) -> None:
            box = (cx + (px - rx) * h, bottom - (py + ry) * h, cx + (px + rx) * h, bottom - (py - ry) * h)
            self.draw.ellipse(box, fill=color)

        part((-0.09, 0), (-0.02, 0), (-0.01, 0.35), (-0.11, 0.35))
        part((0.02, 0), (0.09, 0), (0.11, 0.35), (0.01, 0.35))
        part(
            (-0.16, 0.18),
            (0.16, 0.18),
            (0.1, 0.52),
            (0.15, 0.76),
            (0.06, 0.83),
            (-0.06, 0.83),
            (-0.15, 0.76),
            (-0.1, 0.52),
        )
        part((-0.15, 0.77), (-0.2, 0.42), (-0.14, 0.4), (-0.08, 0.7))
        part((0.15, 0.77), (0.2, 0.42), (0.14, 0.4), (0.08, 0.7))
        oval(0, 0.88, 0.055, 0.07)
        oval(0, 0.93, 0.12, 0.018)
        part((-0.065, 0.93), (0.065, 0.93), (0.055, 0.995), (0, 0.985), (-0.055, 0.995))


def mix(a: Color, b: Color, share: float) -> Color:
    red, green, blue = (round(p + (q - p) * share) for p, q in zip(a, b, strict=True))
    return red, green, blue


def _vignette(image: Image.Image, ink: Color) -> Image.Image:
    edge = Image.radial_gradient("L").point([round(190 * max(d / 255 - 0.3, 0) ** 1.6) for d in range(256)])
    return Image.composite(Image.new("RGB", image.size, ink), image, edge.resize(image.size, Image.Resampling.BILINEAR))


def _grain(image: Image.Image, rng: random.Random) -> Image.Image:
    bell = NormalDist(128, _GRAIN_SIGMA)
    levels = [round(bell.inv_cdf((level + 0.5) / 256)) for level in range(256)]
    noise = Image.frombytes("L", image.size, rng.randbytes(image.width * image.height)).point(levels)
    return ImageChops.add(image, Image.merge("RGB", (noise, noise, noise)), scale=1, offset=-128)
