"""The figures as one table: for a terminal, for a page, for a program."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Figure

MARKS = ("<!-- Figures, written by `make bench`. Do not edit. -->", "<!-- End of the figures. -->")
"""What stands around the table on a page."""

LONG_MARKS = ("<!-- Long figures, written by `make bench-long`. Do not edit. -->", "<!-- End of the long figures. -->")
"""And around that of the parts that take long."""

_COLUMNS = ("what", "median", "of the runs", "goal", "met")
_DECIMALS = {"ms": 1, "s": 2, "MB": 0, "KiB": 0, "kB": 1, "files": 0, "images/s": 0, "/s": 0, "×": 3}


def machine() -> dict[str, Any]:
    """What the figures were measured on, as far as it can be told; `load` is what else went on when it began."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="minutes").replace("+00:00", "Z"),
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "safelight": version("safelight"),
        "load": round(os.getloadavg()[0], 2),
    }


def machine_line(facts: dict[str, Any]) -> str:
    return (
        f"Safelight {facts['safelight']} on {facts['cores']} cores ({facts['processor']}), {facts['memory_gb']} GB, "
        f"{facts['system']}, Python {facts['python']}; {facts['measured_at']}, load before the start {facts['load']:g}."
    )


def markdown(figures: Sequence[Figure]) -> str:
    """A row a figure, in the order given."""
    rows = [_cells(figure) for figure in figures]
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---|--:|--:|--:|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def show(console: Console, figures: Sequence[Figure], facts: dict[str, Any]) -> None:
    """On a terminal a drawn table, elsewhere the same as markdown."""
    if not console.is_terminal:
        console.print(f"{markdown(figures)}\n\n{machine_line(facts)}", soft_wrap=True, markup=False, highlight=False)
        return
    table = Table(*_COLUMNS, box=box.SIMPLE_HEAD)
    for column in table.columns[1:4]:
        column.justify = "right"
    for figure in figures:
        style = {True: "green", False: "red", None: None}[figure.is_met]
        *cells, met = _cells(figure)
        table.add_row(*cells, f"[{style}]{met}[/]" if style else met)
    console.print(table)
    console.print(machine_line(facts), style="dim")


def missed_line(figures: Sequence[Figure]) -> str:
    """Which goals are missed, for people who look for them."""
    missed = [
        f"{each.what} ({_number(each.median, each.unit)} {each.unit}, {each.goal})"
        for each in figures
        if each.is_met is False
    ]
    return f"Missed: {'; '.join(missed)}." if missed else "Every goal is met."


def write_page(page: Path, marks: tuple[str, str], *parts: str) -> None:
    """The page holds these parts between its marks, and the rest of it is as it was. Raises ValueError without them."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"`{page}` has no place for this: `{marks[0]}` and `{marks[1]}`")
    page.write_text("\n\n".join([before + begin, *parts, end + after]), encoding="utf-8")


def _cells(figure: Figure) -> tuple[str, ...]:
    low, high = min(figure.runs), max(figure.runs)
    spread = f"{_number(low, figure.unit)} to {_number(high, figure.unit)}" if len(figure.runs) > 1 else ""
    return (
        figure.what,
        f"{_number(figure.median, figure.unit)} {figure.unit}",
        spread,
        f"{figure.goal} {figure.unit}" if figure.goal else "",
        {True: "yes", False: "no", None: ""}[figure.is_met],
    )


def _number(value: float, unit: str) -> str:
    return f"{value:,.{_DECIMALS[unit]}f}".replace(",", " ")


def _processor() -> str:
    """Its name as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()
