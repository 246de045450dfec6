"""`python -m benchmarks.peers`, and `make bench-peers`: Safelight and its peers, by turns, in one run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from benchmarks import table
from benchmarks.peers import faulty, orchestration, page
from benchmarks.peers.contest import PYTHON

_FAULTY = "faulty"
_IMAGES, _QUICK_IMAGES = 2100, 140
_SEEDS = 9


def main() -> int:
    """0 when everything was measured that can be here, whether or not the goals are met."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Measures Safelight and its peers."
    )
    options.add_argument("--quick", action="store_true", help="a smoke run: small counts, figures of no meaning")
    options.add_argument("--runs", type=int, default=3, metavar="N", help="rounds in which everybody has a turn")
    options.add_argument("--images", type=int, metavar="N", help=f"in one run of one of them, not {_IMAGES}")
    options.add_argument("--seeds", type=int, default=_SEEDS, metavar="N", help="of the vendor that fails")
    options.add_argument(
        "--only", choices=[*orchestration.CONTESTANTS, _FAULTY], action="append", help="one of them; may be repeated"
    )
    options.add_argument("--json", type=Path, metavar="FILE", help="write the figures for programs")
    options.add_argument("--page", type=Path, metavar="FILE", help="write the tables between their marks on this page")
    options.add_argument("--folder", type=Path, help="make homes and databases here instead of in the temporary folder")
    chosen = options.parse_args()
    if chosen.page and (chosen.quick or chosen.only):
        options.error("--page takes a whole and full run")
    if not PYTHON.exists():
        options.error(f"the peers' own environment is missing: {PYTHON.parents[1]}; `make bench-peers` makes it")
    if chosen.quick:
        chosen.runs, chosen.seeds = 1, 1
    facts = table.machine()
    rows, bought = uvloop.run(_measure(chosen))
    told = [_machine_line(facts), *page.sections(rows, bought)]
    Console().print("\n\n".join(told), soft_wrap=True, markup=False, highlight=False)
    if chosen.json:
        found = [*orchestration.figures(rows or ()), *faulty.figures(bought or {})]
        document: dict[str, Any] = {"machine": facts, "quick": chosen.quick, "figures": [f.as_json() for f in found]}
        chosen.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if chosen.page:
        table.write_page(chosen.page, page.MARKS, *told)
    return 0


async def _measure(
    chosen: argparse.Namespace,
) -> tuple[Sequence[orchestration.Row] | None, Mapping[str, Sequence[faulty.Bought]] | None]:
    names = None if chosen.only is None else [each for each in chosen.only if each != _FAULTY]
    images = chosen.images or (_QUICK_IMAGES if chosen.quick else _IMAGES)
    rows = bought = None
    if names is None or names:
        rows = await orchestration.measure(images=images, runs=chosen.runs, folder=chosen.folder, only=names)
    if chosen.only is None or _FAULTY in chosen.only:
        bought = await faulty.measure(seeds=chosen.seeds, folder=chosen.folder)
    return rows, bought


def _machine_line(facts: Mapping[str, Any]) -> str:
    """With the versions of everything that is compared."""
    peers = ("pgqueuer", "procrastinate", "celery", "dbos")
    site = next((PYTHON.parents[1] / "lib").glob("python3.*/site-packages"))
    found = {each: _version(site, each) for each in peers}
    with_versions = ", ".join(f"{name} {number}" for name, number in found.items())
    return f"{table.machine_line(dict(facts))} Peers: {with_versions}."


def _version(site: Path, name: str) -> str:
    """Of what is installed there, by the name of its metadata's folder."""
    found = sorted(site.glob(f"{name}-*.dist-info"))
    return found[0].name.removesuffix(".dist-info").partition("-")[2] if found else "?"


if __name__ == "__main__":
    sys.exit(main())
