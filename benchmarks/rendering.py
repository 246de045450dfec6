"""Rendering time over the codec's own; alone: `.venv/bin/python -m benchmarks.rendering`.

A PNG of 1024² becomes a JPEG of 512², once through the render pool (child process, limits, full verification) and once
by libvips alone in this process: decode, resize, encode, in one pipeline, with the same encoder settings. Both take
turns, so that whatever else the machine does falls on both. Prints one line; the ratio is that of the medians, and
between brackets are the lowest and the highest of the rounds'.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pyvips
import uvloop
from pyvips.voperation import concurrency_set

from safelight.imaging.pool import RenderPool
from safelight.imaging.rendition import Rendition
from safelight.sandbox.scenes import paint

CARD = Rendition(name="card", width_px=512, height_px=512)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Median seconds per picture of either side."""

    pool_seconds: float
    codec_seconds: float

    @property
    def ratio(self) -> float:
        return self.pool_seconds / self.codec_seconds


def main() -> None:
    options = argparse.ArgumentParser(description="Rendering time over the codec's own.")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--turns", type=int, default=40, help="pictures per round and side")
    chosen = options.parse_args()
    rounds = uvloop.run(measure(rounds=chosen.rounds, turns=chosen.turns))
    ratios = [each.ratio for each in rounds]
    sys.stdout.write(
        f"rendering_over_codec_ratio {statistics.median(ratios):.3f} [{min(ratios):.3f}..{max(ratios):.3f}] "
        f"pool_ms {1000 * statistics.median(each.pool_seconds for each in rounds):.1f} "
        f"codec_ms {1000 * statistics.median(each.codec_seconds for each in rounds):.1f} "
        f"rounds {len(rounds)} turns {chosen.turns}\n"
    )


async def measure(*, rounds: int, turns: int) -> list[Round]:
    """So many rounds of `turns` pictures for each side."""
    concurrency_set(1)  # as in the child: one picture, one core
    pyvips.cache_set_max(0)
    png = _png()
    pool = RenderPool()
    try:
        for _ in range(5):  # the child's start, and both sides' first allocations
            await pool.render(png, [CARD])
            _codec_alone(png)
        return [await _round(pool, png, turns) for _ in range(rounds)]
    finally:
        await pool.aclose()


async def _round(pool: RenderPool, png: bytes, turns: int) -> Round:
    ours: list[float] = []
    codec: list[float] = []
    for _ in range(turns):
        ours.append(await _seconds(lambda: pool.render(png, [CARD])))
        codec.append(await _seconds(lambda: asyncio.sleep(0, _codec_alone(png))))
    return Round(pool_seconds=statistics.median(ours), codec_seconds=statistics.median(codec))


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


def _codec_alone(png: bytes) -> bytes:
    resized = pyvips.Image.thumbnail_buffer(png, CARD.width_px, height=CARD.height_px, crop="centre")
    return resized.jpegsave_buffer(
        Q=CARD.quality or 0,
        keep=pyvips.enums.ForeignKeep.NONE,
        optimize_coding=True,
        interlace=True,
        trellis_quant=True,
        overshoot_deringing=True,
        optimize_scans=True,
        quant_table=3,
    )


def _png() -> bytes:
    """A scene with grain, 1 MB, as vendors' pictures are."""
    file = io.BytesIO()
    paint(1, width_px=1024, height_px=1024).save(file, "PNG", compress_level=3)
    return file.getvalue()


if __name__ == "__main__":
    main()
