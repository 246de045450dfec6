"""`python -m benchmarks`, and `make bench`: every figure, measured here and now, in one table; and a profile."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from benchmarks import (
    admission,
    backlog,
    delivery,
    flatness,
    overhead,
    profile,
    rendering,
    service,
    startup,
    submits,
    table,
    throughput,
)
from benchmarks.figures import Figure, at_most
from benchmarks.scale import FULL, QUICK, Scale

Measurement = Callable[[Scale, Path | None], Awaitable[list[Figure]]]


def main() -> int:
    """0 when everything was measured, whether or not the goals are met."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description="Measures Safelight.")
    options.add_argument("--quick", action="store_true", help="a smoke run: small counts, figures of no meaning")
    options.add_argument("--only", choices=[*_MEASUREMENTS, *_LONG], action="append", help="one part; may be repeated")
    options.add_argument("--long", action="store_true", help="the parts that take long, instead of all others")
    options.add_argument("--images", type=int, metavar="N", help="so many through the part memory-long, not 100 000")
    options.add_argument("--profile", action="store_true", help="where the time and the memory go, instead of figures")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the figures for programs")
    options.add_argument("--page", type=Path, metavar="FILE", help="write it between its marks on this page")
    options.add_argument("--folder", type=Path, help="make the homes here instead of in the temporary folder")
    chosen = options.parse_args()
    if chosen.page and (chosen.quick or chosen.only or chosen.images):
        options.error("--page takes a whole and full run")
    if chosen.profile and (chosen.only or chosen.json or chosen.long):
        options.error("--profile takes no --only, no --long and no --json")
    scale = QUICK if chosen.quick else FULL
    if chosen.images:
        scale = replace(scale, flat_images=chosen.images)
    facts = table.machine()
    if chosen.profile:
        _profile(scale, chosen.folder, chosen.page, facts)
        return 0
    parts = chosen.only or list(_LONG if chosen.long else _MEASUREMENTS)
    figures = uvloop.run(measure(scale, chosen.folder, parts=parts))
    table.show(Console(), figures, facts)
    if chosen.json:
        document: dict[str, Any] = {"machine": facts, "quick": chosen.quick, "figures": [f.as_json() for f in figures]}
        chosen.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if chosen.page:
        marks = table.LONG_MARKS if chosen.long else table.MARKS
        words = (table.machine_line(facts), table.markdown(figures), table.missed_line(figures))
        table.write_page(chosen.page, marks, *words)
    return 0


def _profile(scale: Scale, folder: Path | None, page: Path | None, facts: dict[str, Any]) -> None:
    sections = uvloop.run(profile.measure(scale, folder))
    profile.show(Console(), sections)
    if page:
        table.write_page(page, profile.MARKS, table.machine_line(facts), profile.markdown(sections))


async def measure(scale: Scale, folder: Path | None, *, parts: Collection[str]) -> list[Figure]:
    """One part after the other, each on a Safelight of its own."""
    figures: list[Figure] = []
    for name, part in (_MEASUREMENTS | _LONG).items():
        if name in parts:
            began = time.monotonic()
            sys.stderr.write(f"{name} … ")
            sys.stderr.flush()
            figures += await part(scale, folder)
            sys.stderr.write(f"{time.monotonic() - began:.0f} s\n")
    return figures


async def _rendering(scale: Scale, folder: Path | None) -> list[Figure]:  # noqa: ARG001 - it leaves no files
    rounds = await rendering.measure(rounds=scale.runs, turns=scale.render_turns)
    ratios = tuple(each.ratio for each in rounds)
    return [
        Figure(
            name="rendering_ratio",
            what="1024² PNG to 512² JPEG in the render child, over libvips alone",
            unit="×",
            runs=ratios,
            goal=at_most(1.15),
        )
    ]


_MEASUREMENTS: dict[str, Measurement] = {
    "service": service.measure,
    "throughput": throughput.measure,
    "submits": submits.measure,
    "delivery": delivery.measure,
    "overhead": overhead.measure,
    "admission": admission.measure,
    "startup": startup.measure,
    "rendering": _rendering,
}
_LONG: dict[str, Measurement] = {
    "memory-long": flatness.measure,
    "backlog": backlog.measure,
}
"""Minutes each; `make bench-long` writes them down apart from the others."""


if __name__ == "__main__":
    sys.exit(main())
