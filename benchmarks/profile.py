"""Where the time and the memory go: `python -m benchmarks --profile`. For reading, not for holding against a goal."""

from __future__ import annotations

import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import memory, service, throughput
from benchmarks.installation import Installation, connected, running
from benchmarks.makespan import Step, steps_of
from benchmarks.scale import Scale
from benchmarks.statements import Activity, watched

MARKS = ("<!-- Profile, written by `make bench`. Do not edit. -->", "<!-- End of the profile. -->")
"""What stands around it on a page."""

_STATEMENTS_SHOWN = 10
_PACKAGES_SHOWN = 6
_MEASURED = ("serve", "api", "worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table with a title; what cannot be a row stands in `words`."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: str


async def measure(scale: Scale, folder: Path | None) -> list[Section]:
    """Every part on a Safelight of its own."""
    return [*await _life(scale, folder), await _makespan(scale, folder), await _memory(scale, folder)]


def markdown(sections: Iterable[Section]) -> str:
    return "\n\n".join(f"### {each.title}\n\n{each.words}\n\n{_table(each)}" for each in sections)


def show(console: Console, sections: Iterable[Section]) -> None:
    """On a terminal drawn tables, elsewhere the same as markdown."""
    if not console.is_terminal:
        console.print(markdown(sections), soft_wrap=True, markup=False, highlight=False)
        return
    for each in sections:
        table = Table(*each.columns, box=box.SIMPLE_HEAD, title=each.title, caption=each.words)
        for column in table.columns[1:]:
            column.justify = "right"
        for row in each.rows:
            table.add_row(*row)
        console.print(table)


def _table(section: Section) -> str:
    lines = [section.columns, ("---", *("--:" for _ in section.columns[1:])), *section.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


async def _life(scale: Scale, folder: Path | None) -> list[Section]:
    """The images of one throughput run: what PostgreSQL does for each, and what the processors do."""
    async with (
        running(folder, **throughput.SETTINGS) as installation,
        connected(installation) as database,
    ):
        await throughput.warm_up(installation, database)
        async with watched(installation, database) as activity:
            watched_drain = await throughput.drain(installation, database, images=scale.profiled_images, keeps=False)
    async with (
        running(folder, probe="samples", **throughput.SETTINGS) as installation,
        connected(installation) as database,
    ):
        await throughput.warm_up(installation, database)
        before = len(installation.probed("worker"))
        drain = await throughput.drain(installation, database, images=scale.profiled_images, keeps=False)
        samples = installation.probed("worker")[before:]
    return [_statements(activity, watched_drain.images), _processors(drain, samples)]


def _statements(activity: Activity, images: int) -> Section:
    total_ms = sum(each.ms for each in activity.statements.values())
    runs = sum(each.runs for each in activity.statements.values())
    ordered = sorted(activity.statements.items(), key=lambda item: -item[1].ms)
    others = [each for _, each in ordered[_STATEMENTS_SHOWN:]]
    rows = [(name, each.runs, each.ms) for name, each in ordered[:_STATEMENTS_SHOWN]]
    rows.append((f"{len(others)} others", sum(e.runs for e in others), sum(e.ms for e in others)))
    return Section(
        title="Images through the whole durable life: statements",
        columns=("statement", "per image", "ms per image", "share"),
        rows=[(name, f"{n / images:.2f}", f"{ms / images:.2f}", _percent(ms, total_ms)) for name, n, ms in rows],
        words=(
            f"For each image: {runs / images:.1f} statements in {activity.transactions / images:.1f} transactions, "
            f"{activity.syncs / images:.1f} syncs of PostgreSQL's log taking {activity.sync_ms / images:.1f} ms, and "
            f"{activity.log_bytes / images / 1000:.0f} kB of that log. The time is from PostgreSQL's side and includes "
            "waiting: `lock_job` waits for the transactions of the same job's other images, COMMIT for the disk."
        ),
    )


def _processors(drain: throughput.Drain, samples: Sequence[str]) -> Section:
    total = sum(drain.cpu_ms.values())
    rows = [(_called(name), ms, _percent(ms, total)) for name, ms in drain.cpu_ms.items()]
    by_package = Counter(module.partition(".")[0] for module in samples)
    worker_ms = drain.cpu_ms["worker"]
    rows[1:1] = [
        (f"· in `{package}`", worker_ms * count / len(samples), _percent(count * worker_ms / len(samples), total))
        for package, count in by_package.most_common(_PACKAGES_SHOWN)
    ]
    busy = total / 1000 * drain.images_per_second
    return Section(
        title="Images through the whole durable life: processor time",
        columns=("process", "ms per image", "share"),
        rows=[(name, f"{ms:.2f}", share) for name, ms, share in rows],
        words=(
            f"At {drain.images_per_second:.0f} images/s these take {busy:.1f} of {os.cpu_count()} cores; submitting "
            "and measuring take some of the rest. A package's share is that of the samples in which its Python code "
            "was running, or what that code had called in C: `asyncio`'s is the event loop with its sockets."
        ),
    )


async def _makespan(scale: Scale, folder: Path | None) -> Section:
    async with service.open_bench(scale, folder) as bench, connected(bench.installation) as database:
        steps = await steps_of(bench, database)
    over_ms = sum(step.ms for step in steps)
    return Section(
        title=f"Makespan of {service.JOB_IMAGES} images at once",
        columns=("until", "first image, ms", "last image, ms", "adds, ms", "of the latency"),
        rows=[_step_row(step, bench.vendor_seconds) for step in steps],
        words=(
            f"Milliseconds since the request was sent, without the vendor's {bench.vendor_seconds:g} s; *adds* is what "
            f"the step adds for the last image, together {over_ms:.0f} ms: "
            f"{over_ms / bench.vendor_seconds / 10:.1f} % of the vendor's latency. Between the answer and the receipt "
            "a picture is staged, waits for the render child, and is decoded and encoded there: what separates the "
            "last image from the first is that wait."
        ),
    )


def _step_row(step: Step, vendor_seconds: float) -> tuple[str, ...]:
    share = f"{step.ms / vendor_seconds / 10:.2f} %"
    return (step.until, f"{step.first_ms:.0f}", f"{step.last_ms:.0f}", f"{step.ms:.0f}", share)


async def _memory(scale: Scale, folder: Path | None) -> Section:
    async with service.open_bench(scale, folder) as bench:
        held = await memory.idle(bench.installation)
    async with service.open_bench(scale, folder, probe="imports") as bench:
        grown = {name: _by_package(bench.installation, name) for name in _MEASURED}
    own = sum(megabytes for name, megabytes in held.items() if name != "postgres")
    return Section(
        title="Memory of `serve`, idle",
        columns=("process", "PSS, MB", "while importing, MB", "the packages that took most of that"),
        rows=[_memory_row(name, megabytes, grown.get(name)) for name, megabytes in held.items()],
        words=(
            f"Together {own:.0f} MB without PostgreSQL. The packages' megabytes are what a process's own memory grew "
            "by while their modules ran, what these imported left out; the interpreter itself, and all that comes "
            "later, are the difference."
        ),
    )


def _memory_row(name: str, megabytes: float, grown: Mapping[str, float] | None) -> tuple[str, ...]:
    if grown is None:
        return (_called(name), f"{megabytes:.0f}", "", "")
    most = sorted(grown.items(), key=lambda item: -item[1])[:_PACKAGES_SHOWN]
    packages = ", ".join(f"`{package}` {each:.1f}" for package, each in most)
    return (_called(name), f"{megabytes:.0f}", f"{sum(grown.values()):.0f}", packages)


def _by_package(installation: Installation, name: str) -> dict[str, float]:
    """Megabytes."""
    found: defaultdict[str, float] = defaultdict(float)
    for line in installation.probed(name):
        module, grown_bytes = line.split("\t")
        found[_package(module)] += int(grown_bytes) / 1_000_000
    return found


def _package(module: str) -> str:
    """What a person would call it: `google.genai`, not `google`; Python's own modules as one."""
    first, _, rest = module.partition(".")
    if first in sys.stdlib_module_names or first == "__main__":
        return "Python's own"
    return f"google.{rest.partition('.')[0]}" if first == "google" and rest else first


def _called(name: str) -> str:
    return {"postgres": "PostgreSQL", "render": "the render child"}.get(name, f"`{name}`")


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %"
