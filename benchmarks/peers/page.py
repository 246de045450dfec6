"""What was measured against peers, as three tables: for a terminal, and for the page."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.peers import faulty
from benchmarks.peers.contest import Run
from benchmarks.peers.orchestration import NOT_MEASURED, Row

MARKS = ("<!-- Peers, written by `make bench-peers`. Do not edit. -->", "<!-- End of the peers. -->")

_HEAD = (
    "| | images/s | of the runs | processor time per image, workers | PostgreSQL, Redis | Safelight over it | "
    "goal | met |\n|---|--:|--:|--:|--:|--:|--:|---|"
)


def sections(rows: Sequence[Row] | None, bought: Mapping[str, Sequence[faulty.Bought]] | None) -> list[str]:
    """Of what was measured."""
    made: list[str] = []
    if rows is not None:
        made += ["### Three durable changes for each image", summary(rows)]
        for title, keeps in (("The same work: everybody keeps the picture", True), ("Peers without pictures", False)):
            theirs = [row for row in rows if row.contestant.module and row.contestant.keeps == keeps]
            if theirs or keeps:
                ours = [row for row in rows if row.contestant.module is None]
                made += [f"**{title}**", orchestration([*ours, *theirs])]
    if bought is not None:
        made += ["### Fourteen pictures from a vendor that fails", faulty.markdown(bought)]
    return made


def summary(rows: Sequence[Row]) -> str:
    """Who is faster, by the medians of this run."""
    told: list[str] = []
    for where, keeps in (("keep the picture, as Safelight does", True), ("handle no picture", False)):
        ratios = [
            (row.contestant.what.partition(", and keeps")[0], statistics.median(row.ratio))
            for row in rows
            if row.contestant.module is not None and row.contestant.keeps == keeps and row.ratio
        ]
        faster = [name for name, ratio in ratios if ratio < 1]
        if ratios:
            names = f": {'; '.join(faster)}" if faster else ""
            told.append(f"Of the peers that {where}, {len(faster)} of {len(ratios)} were faster than Safelight{names}.")
    return " ".join(told) or "No peer was measured beside Safelight."


def orchestration(rows: Sequence[Row]) -> str:
    """A row for each contestant, in the order given; also for those that could not be measured, with the reason."""
    return "\n".join([_HEAD, *(f"| {' | '.join(_cells(row))} |" for row in rows)])


def _cells(row: Row) -> tuple[str, ...]:
    if not row.runs:
        return (row.contestant.what, f"not measured: {NOT_MEASURED}", "", "", "", "", "", "")
    rates = [run.images_per_second for run in row.runs]
    met = {True: "yes", False: "no", None: ""}[row.is_met]
    ratio = f"{statistics.median(row.ratio):.2f} ×" if row.ratio else ""
    if row.ratio and row.contestant.module is None:
        ratio += " one worker"
    return (
        row.contestant.what,
        f"{statistics.median(rates):.0f}",
        f"{min(rates):.0f} to {max(rates):.0f}" if len(rates) > 1 else "",
        _ms(row, lambda run: run.worker_ms),
        _ms(row, lambda run: run.store_ms),
        ratio,
        f"{row.goal} ×" if row.goal else "",
        met,
    )


def _ms(row: Row, of: Callable[[Run], float]) -> str:
    return f"{statistics.median(of(run) for run in row.runs):.2f} ms"
