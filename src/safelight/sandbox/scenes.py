"""Film-noir scenes drawn from a number: same number and size, same pixels.

Every scene places things by fractions of the canvas and sizes them by its shorter side, so that it holds in
any aspect ratio. Drawing one megapixel takes about 0.1 s; it belongs in a thread.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from PIL import Image, ImageOps

from safelight.sandbox.canvas import PALETTES, Canvas, Color, Point, mix


def paint(number: int, *, width_px: int, height_px: int) -> Image.Image:
    """An RGB picture; neighbouring numbers show different scenes."""
    rng = random.Random(number)  # noqa: S311 - pictures, not secrets
    palette = PALETTES[(number // len(_SCENES) + number) % len(PALETTES)]
    canvas = Canvas(width_px, height_px, palette, rng)
    _SCENES[number % len(_SCENES)](canvas)
    picture = canvas.finished()
    return ImageOps.mirror(picture) if rng.random() < 0.5 else picture


def _street_lamp(c: Canvas) -> None:
    p, x, ground = c.palette, c.rng.uniform(0.26, 0.4), 0.78
    c.gradient(p.ink, p.shade, y1=ground)
    c.gradient(p.shade, p.ink, y0=ground)
    for left in range(5):
        c.block(left * 0.24 - 0.05, c.rng.uniform(0.18, 0.42), left * 0.24 + 0.13, ground, p.ink)
    c.beam([(x, 0.2), (x + 0.24, ground + 0.06), (x - 0.24, ground + 0.06)], p.light, 0.34, soft=0.02)
    c.glow(x, ground + 0.03, 0.5, p.haze, 0.8)
    c.glow(x, 0.19, 0.55, p.accent, 0.55)
    c.line([(x, 0.2), (x, ground + 0.03)], p.ink, 0.016)
    c.polygon([(x - 0.035, 0.2), (x + 0.035, 0.2), (x + 0.018, 0.16), (x - 0.018, 0.16)], p.ink)
    c.disc(x, 0.205, 0.03, p.light)
    c.figure(min(x + 0.24, 0.8), ground + 0.09, 0.5, p.ink)
    _rain(c, 240)


def _blinds(c: Canvas) -> None:
    p, slant = c.palette, c.rng.uniform(0.05, 0.12)
    c.gradient(p.shade, p.ink)
    c.glow(0.62, 0.4, 0.9, p.haze, 0.6)
    for bar in range(9):
        y = 0.08 + bar * 0.085
        c.beam(
            [(0.3, y), (0.96, y + slant), (0.96, y + slant + 0.04), (0.3, y + 0.04)],
            p.light,
            0.82,
            soft=0.006,
        )
    c.block(0.625, 0.0, 0.64, 1.0, p.shade)
    (cx, cy), u = c.px(0.36, 1.0), c.unit
    d = c.draw
    d.polygon(
        [
            (cx - 0.5 * u, cy),
            (cx - 0.38 * u, cy - 0.3 * u),
            (cx - 0.1 * u, cy - 0.4 * u),
            (cx + 0.12 * u, cy - 0.4 * u),
            (cx + 0.36 * u, cy - 0.3 * u),
            (cx + 0.46 * u, cy),
        ],
        fill=p.ink,
    )
    d.ellipse((cx - 0.13 * u, cy - 0.68 * u, cx + 0.14 * u, cy - 0.33 * u), fill=p.ink)
    d.polygon(
        [(cx + 0.12 * u, cy - 0.52 * u), (cx + 0.185 * u, cy - 0.47 * u), (cx + 0.12 * u, cy - 0.43 * u)],
        fill=p.ink,
    )
    d.ellipse((cx - 0.27 * u, cy - 0.64 * u, cx + 0.3 * u, cy - 0.57 * u), fill=p.ink)
    d.polygon(
        [
            (cx - 0.15 * u, cy - 0.6 * u),
            (cx - 0.12 * u, cy - 0.78 * u),
            (cx + 0.01 * u, cy - 0.75 * u),
            (cx + 0.14 * u, cy - 0.78 * u),
            (cx + 0.16 * u, cy - 0.6 * u),
        ],
        fill=p.ink,
    )
    c.glow(0.36 + 0.22 * u / c.width, 1 - 0.44 * u / c.height, 0.028, p.accent, 1.0)
    _smoke(c, 0.36 + 0.22 * u / c.width, 1 - 0.46 * u / c.height)


def _skyline(c: Canvas) -> None:
    p, moon = c.palette, c.rng.uniform(0.58, 0.8)
    c.gradient(p.ink, p.haze)
    c.glow(moon, 0.26, 0.55, p.light, 0.55)
    c.disc(moon, 0.26, 0.1, p.light)
    for layer, tone in enumerate((mix(p.haze, p.shade, 0.5), p.shade, p.ink)):
        x = -0.03
        while x < 1:
            wide = c.rng.uniform(0.05, 0.13)
            top = c.rng.uniform(0.34, 0.6) + layer * 0.12
            c.block(x, top, x + wide, 1, tone)
            if c.rng.random() < 0.3:
                c.line([(x + wide / 2, top - 0.07), (x + wide / 2, top)], tone, 0.006)
            if layer:
                _windows(c, x, top, wide, p.accent if layer == 2 else p.light)
            x += wide + c.rng.uniform(0, 0.012)
        c.beam([(0, 0.8), (1, 0.74), (1, 1), (0, 1)], p.haze, 0.22, soft=0.08)


def _darkroom(c: Canvas) -> None:
    p, bench = c.palette, 0.72
    c.gradient(p.ink, p.shade, y1=bench)
    lamp = c.rng.uniform(0.42, 0.58)
    c.glow(lamp, 0.2, 1.1, p.accent, 0.6)
    c.line([(0, 0.36), (0.5, 0.4), (1, 0.35)], p.ink, 0.006)
    for print_ in range(5):
        x, y = 0.1 + print_ * 0.19, 0.375 + 0.025 * (1 - abs(print_ - 2) / 2)
        wide, tall = 0.19 * c.unit / c.width, 0.24 * c.unit / c.height
        wide = min(wide, 0.15)
        c.block(x - wide / 2, y, x + wide / 2, y + tall, mix(p.light, p.haze, 0.35))
        c.block(x - wide * 0.4, y + tall * 0.1, x + wide * 0.4, y + tall * 0.78, p.shade)
        c.disc(x, y + tall * 0.4, 0.028 * wide / 0.15, p.ink)
        c.polygon(
            [(x - wide * 0.3, y + tall * 0.78), (x, y + tall * 0.45), (x + wide * 0.3, y + tall * 0.78)],
            p.ink,
        )
        c.block(x - wide * 0.06, y - tall * 0.07, x + wide * 0.06, y + tall * 0.07, p.ink)
    c.gradient(mix(p.shade, p.haze, 0.4), p.ink, y0=bench)
    for tray in range(3):
        x = 0.05 + tray * 0.32
        c.polygon([(x + 0.03, 0.78), (x + 0.25, 0.78), (x + 0.28, 0.92), (x, 0.92)], p.ink)
        c.polygon(
            [(x + 0.045, 0.795), (x + 0.235, 0.795), (x + 0.258, 0.9), (x + 0.022, 0.9)],
            mix(p.accent, p.ink, 0.55),
        )
        c.beam([(x + 0.07, 0.81), (x + 0.16, 0.81), (x + 0.12, 0.88), (x + 0.05, 0.88)], p.light, 0.3)
    c.line([(lamp, 0), (lamp, 0.13)], p.ink, 0.008)
    c.polygon([(lamp - 0.03, 0.12), (lamp + 0.03, 0.12), (lamp + 0.075, 0.2), (lamp - 0.075, 0.2)], p.ink)
    c.glow(lamp, 0.21, 0.16, p.light, 0.95)


def _desk(c: Canvas) -> None:
    p, x, top = c.palette, c.rng.uniform(0.56, 0.7), 0.62
    c.gradient(p.ink, mix(p.ink, p.shade, 0.7), y1=top)
    c.gradient(p.shade, p.ink, y0=top)
    c.glow(x - 0.08, top + 0.1, 0.85, p.haze, 0.9)
    c.beam(
        [(x - 0.1, 0.4), (x + 0.06, 0.4), (x + 0.22, top + 0.16), (x - 0.42, top + 0.16)],
        p.light,
        0.3,
        soft=0.03,
    )
    c.polygon([(0.1, 0.74), (0.3, 0.7), (0.38, 0.86), (0.15, 0.91)], p.light)
    for row in range(5):
        y = 0.755 + row * 0.026
        c.line([(0.15 + row * 0.012, y), (0.285 + row * 0.012, y - 0.028)], p.haze, 0.005)
    c.polygon([(0.42, 0.8), (0.6, 0.78), (0.63, 0.9), (0.44, 0.93)], mix(p.light, p.haze, 0.5))
    c.line([(0.42, 0.8), (0.535, 0.865), (0.6, 0.78)], p.shade, 0.006)
    c.disc(0.533, 0.862, 0.02, p.accent)
    c.line([(x, 0.4), (x, top + 0.08)], p.ink, 0.022)
    c.polygon([(x - 0.1, top + 0.1), (x + 0.1, top + 0.1), (x + 0.06, top + 0.06), (x - 0.06, top + 0.06)], p.ink)
    c.polygon([(x - 0.17, 0.41), (x + 0.13, 0.41), (x + 0.09, 0.3), (x - 0.12, 0.3)], mix(p.accent, p.ink, 0.35))
    c.glow(x - 0.02, 0.415, 0.14, p.light, 0.95)
    (cx, cy), u = c.px(0.8, 0.84), c.unit
    c.draw.ellipse((cx - 0.1 * u, cy - 0.07 * u, cx + 0.1 * u, cy + 0.07 * u), outline=p.ink, width=max(u // 70, 2))
    c.draw.line((cx + 0.08 * u, cy + 0.05 * u, cx + 0.2 * u, cy + 0.12 * u), fill=p.ink, width=max(u // 40, 2))
    c.glow(0.79, 0.83, 0.08, p.light, 0.4)


def _doorway(c: Canvas) -> None:
    p, x = c.palette, c.rng.uniform(0.46, 0.58)
    half = min(0.17 * c.unit / c.width, 0.2)
    c.gradient(mix(p.ink, p.shade, 0.5), p.ink)
    c.block(0, 0.8, 1, 1, p.ink)
    c.glow(x, 0.5, 0.8, p.haze, 0.75)
    c.beam(
        [(x - half, 0.8), (x + half, 0.8), (x + half * 3, 1.02), (x - half * 2, 1.02)],
        p.light,
        0.7,
        soft=0.012,
    )
    c.block(x - half * 1.15, 0.2, x + half * 1.15, 0.8, p.ink)
    c.beam([(x - half, 0.23), (x + half, 0.23), (x + half, 0.8), (x - half, 0.8)], p.light, 0.95, soft=0.003)
    c.glow(x, 0.72, 0.3, p.accent, 0.45)
    c.polygon([(x + half, 0.23), (x + half * 1.75, 0.19), (x + half * 1.75, 0.87), (x + half, 0.8)], p.shade)
    c.disc(x + half * 1.62, 0.53, 0.012, p.light)
    c.beam(
        [(x - half * 0.3, 0.82), (x + half * 0.25, 0.82), (x + half * 0.9, 1.02), (x - half * 0.7, 1.02)],
        p.ink,
        0.8,
        soft=0.012,
    )
    c.figure(x, 0.83, 0.46 * c.height / c.unit if c.height < c.width * 1.4 else 0.62, p.ink)


def _harbour(c: Canvas) -> None:
    p, shore = c.palette, 0.58
    c.gradient(p.shade, p.haze, y1=shore)
    c.gradient(p.shade, p.ink, y0=shore)
    c.glow(c.rng.uniform(0.2, 0.8), 0.5, 0.7, p.light, 0.45)
    for hill, lift in ((mix(p.haze, p.shade, 0.4), 0.1), (p.shade, 0.05)):
        ridge = [(i / 8, shore - lift * c.rng.uniform(0.4, 1.3)) for i in range(9)]
        c.polygon([(0, shore), *ridge, (1, shore)], hill)
    for lamp in range(7):
        x, y = 0.08 + lamp * 0.14, shore - 0.01
        c.line([(x, y - 0.11), (x, y)], p.ink, 0.005)
        c.beam([(x - 0.006, shore), (x + 0.006, shore), (x + 0.016, 0.9), (x - 0.016, 0.9)], p.accent, 0.5)
        c.glow(x, y - 0.11, 0.09, p.light, 0.95)
    for ripple in range(60):
        x, y = c.rng.random(), shore + 0.02 + (ripple / 60) ** 1.5 * 0.38
        c.line([(x, y), (x + c.rng.uniform(0.02, 0.1), y)], mix(p.haze, p.ink, c.rng.uniform(0.2, 0.7)), 0.003)
    pier = 0.83
    c.polygon([(0, pier), (0.62, pier - 0.02), (0.62, pier + 0.015), (0, pier + 0.06)], p.ink)
    for post in range(6):
        c.line([(0.03 + post * 0.11, pier - 0.05), (0.03 + post * 0.11, 1)], p.ink, 0.016)
    c.figure(0.5, pier, 0.34, p.ink)
    c.beam([(0, 0.47), (1, 0.5), (1, 0.56), (0, 0.58)], p.light, 0.2, soft=0.05)


def _night_road(c: Canvas) -> None:
    p, vx, vy = c.palette, c.rng.uniform(0.42, 0.58), 0.46
    c.gradient(p.ink, p.haze, y1=vy)
    c.gradient(p.shade, p.ink, y0=vy)
    c.glow(vx, vy, 0.6, p.light, 0.6)
    c.polygon([(vx - 0.01, vy), (vx + 0.01, vy), (1.0, 1), (0.0, 1)], p.ink)
    for dash in range(6):
        near, far = (1 - dash * 0.17) ** 2, (1 - dash * 0.17 - 0.08) ** 2
        a, b = vy + (1 - vy) * near, vy + (1 - vy) * far
        middle = vx + (0.5 - vx) * near
        c.polygon(
            [
                (middle - 0.014 * near, a),
                (middle + 0.014 * near, a),
                (middle + 0.014 * far, b),
                (middle - 0.014 * far, b),
            ],
            p.light,
        )
    tops: list[Point] = []
    for pole in range(5):
        near = 0.5**pole
        x, foot = vx + (0.97 - vx) * near, vy + 0.3 * near
        c.line([(x, foot), (x, vy - 0.44 * near)], p.ink, 0.018 * near)
        c.line([(x - 0.06 * near, vy - 0.38 * near), (x + 0.06 * near, vy - 0.38 * near)], p.ink, 0.012 * near)
        tops.append((x, vy - 0.38 * near))
    c.line([(1.2, -0.02), *tops], p.ink, 0.004)
    for side in (-1, 1):
        x = vx + side * 0.05 * c.unit / c.width
        c.beam([(x, vy + 0.05), (x + side * 0.2 - 0.1, 1), (x + side * 0.2 + 0.1, 1)], p.light, 0.28, soft=0.03)
        c.glow(x, vy + 0.05, 0.17, p.accent, 0.8)
        c.glow(x, vy + 0.05, 0.07, p.light, 1.0)
    _rain(c, 110)


_SCENES: tuple[Callable[[Canvas], None], ...] = (
    _street_lamp,
    _darkroom,
    _skyline,
    _blinds,
    _desk,
    _harbour,
    _doorway,
    _night_road,
)


def _rain(c: Canvas, drops: int) -> None:
    for _ in range(drops):
        x, y, fall = c.rng.random(), c.rng.random(), c.rng.uniform(0.02, 0.05)
        c.line(
            [(x, y), (x - fall * 0.25, y + fall)],
            mix(c.palette.haze, c.palette.shade, c.rng.random()),
            0.0015,
        )


def _smoke(c: Canvas, x: float, y: float) -> None:
    for puff in range(14):
        drift = 0.012 * puff * c.rng.uniform(0.2, 1.0)
        c.glow(x + drift, y - puff * 0.026, 0.03 + puff * 0.006, c.palette.light, 0.22)


def _windows(c: Canvas, x: float, top: float, wide: float, color: Color) -> None:
    columns = max(round(wide / 0.02), 2)
    for column in range(columns):
        for row in range(int((1 - top) / 0.03)):
            if c.rng.random() < 0.22:
                left, up = x + wide * (column + 0.3) / columns, top + 0.018 + row * 0.03
                c.block(left, up, left + wide * 0.4 / columns, up + 0.012, color)
