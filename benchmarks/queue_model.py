"""`python -m benchmarks.queue_model`, and `make scale`: what 1, 10 and 100 million images a day take and how they wait.

Times are those that `make bench` has measured, out of its table or its JSON file; sizes are measured here and now. The
plan is arithmetic; the queues are simulated.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import growth, table
from benchmarks.admission import AT_ONCE
from benchmarks.growth import Growth
from benchmarks.measured import NAMES, Measured, NotMeasured, measured_in
from benchmarks.plan import DAY_SECONDS, Assumptions, Limit, Plan, costs_of, limits, plan_for
from benchmarks.queueing import Load, Outcome, simulate
from safelight.sandbox.latency import Latency, parse_latency
from safelight.settings import Settings

MARKS = ("<!-- Written by `make scale`. Do not edit. -->", "<!-- End of what `make scale` writes. -->")
"""What stands around it on the page."""
VOLUMES = (1e6, 1e7, 1e8)
"""Images a day."""
BURST_JOBS = 50
"""That come in the same moment, where they come in bursts."""

_FOR_EVER = ("jobs", "images", "attempts", "renditions")
_LEAST_IMAGES = 20_000
_MOST_IMAGES = 150_000
_LATENCIES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """How a plan does with jobs that come one by one, and with jobs that come in bursts; same mean."""

    plan: Plan
    steady: Outcome
    bursts: Outcome


def main() -> int:
    """0 when it was calculated, whether or not a plan is stable."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.queue_model", description="Calculates how Safelight grows."
    )
    options.add_argument("--measured", type=Path, default=Path("docs/benchmarks.md"), help="what `make bench` wrote")
    options.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help=f"one of {', '.join(NAMES)}")
    options.add_argument(
        "--latency", default="p50=8,p95=20", help="of a vendor's call, as `safelight sandbox` takes it"
    )
    options.add_argument("--peak", type=float, default=3.0, help="the busiest minutes over the day's mean")
    options.add_argument("--postgres-cores", type=int, default=32, help="the largest server for one installation")
    options.add_argument("--folder", type=Path, help="make the homes here instead of in the temporary folder")
    options.add_argument("--page", type=Path, metavar="FILE", help="write it between its marks on this page")
    chosen = options.parse_args()
    try:
        measured = measured_in(chosen.measured, dict(_given(each) for each in chosen.set))
        latency = parse_latency(chosen.latency)
    except (NotMeasured, ValueError) as error:
        options.error(str(error))
    assumed = Assumptions(latency=latency, peak=chosen.peak, postgres_cores=chosen.postgres_cores)
    facts = table.machine()
    grown = asyncio.run(growth.measure(chosen.folder, images=420, bucket_images=42))
    text = page(measured, grown, assumed)
    sys.stdout.write(text + "\n")
    if chosen.page:
        table.write_page(chosen.page, MARKS, f"Sizes and counts: {table.machine_line(facts)}", text)
    return 0


def page(measured: Measured, grown: Growth, assumed: Assumptions) -> str:
    """Everything, as markdown."""
    plans = [plan_for(volume, measured, grown, assumed) for volume in VOLUMES]
    simulated = [simulated_of(plan, measured, assumed) for plan in plans]
    return "\n\n".join(
        [
            _inputs(measured, assumed),
            "### What one of each carries\n",
            _limit_table(limits(measured, grown, assumed)),
            "### What an image leaves behind\n",
            _growth_table(grown),
            "### What a volume takes\n",
            _plan_table(plans, grown),
            "### How it waits\n",
            _wait_table(simulated),
        ]
    ).replace("\n\n\n", "\n\n")


def simulated_of(plan: Plan, measured: Measured, assumed: Assumptions, *, seed: int = 1) -> Simulated:
    """One installation in its busiest minutes."""
    needed = plan.peak_per_second * assumed.mean_latency_seconds * _LATENCIES
    images = int(min(max(needed, _LEAST_IMAGES), _MOST_IMAGES))
    costs = costs_of(measured, assumed)
    steady, bursts = (
        simulate(plan.site, _load(plan, assumed, burst), costs, images=images, seed=seed) for burst in (1, BURST_JOBS)
    )
    return Simulated(plan=plan, steady=steady, bursts=bursts)


def _load(plan: Plan, assumed: Assumptions, burst: int) -> Load:
    return Load(
        images_per_second=plan.peak_per_second,
        images_per_job=assumed.images_per_job,
        latency=assumed.latency.sample_seconds,
        burst=burst,
    )


def _inputs(measured: Measured, assumed: Assumptions) -> str:
    latency: Latency = assumed.latency
    return (
        f"Times per image from {measured.source}, with the default rendition: worker {measured.worker_ms:g} ms, its "
        f"render process {measured.render_ms:g} ms, PostgreSQL {measured.postgres_ms:g} ms, API {measured.api_ms:g} ms "
        f"of processor time; an admission of {AT_ONCE} images {measured.admission_ms:g} ms. Chosen: jobs of "
        f"{assumed.images_per_job} images; a vendor that takes {latency.p50_seconds:g} s (p50) to "
        f"{latency.p95_seconds:g} s (p95); busiest minutes with {assumed.peak:g} times the day's mean, in which "
        f"nothing is more than {assumed.fill:.0%} busy; a stream for each job until its end; PostgreSQL with at most "
        f"{assumed.postgres_cores} cores and {assumed.max_connections} connections."
    )


def _limit_table(found: Sequence[Limit]) -> str:
    rows = [
        (each.what, _short(each.images_per_second), _volume(each.images_per_second * DAY_SECONDS), each.knob)
        for each in found
    ]
    return _table(("one of it, entirely full", "images/s", "a day, if even", "turned up by"), rows)


def _growth_table(grown: Growth) -> str:
    kept = sum(grown.bytes_of.get(name, 0.0) for name in _FOR_EVER)
    of_tables = ", ".join(f"`{name}` {grown.bytes_of.get(name, 0.0):,.0f}".replace(",", " ") for name in _FOR_EVER)
    requests = ", ".join(f"{n:.1f} {method}" for method, n in sorted(grown.requests.items()))
    rows = [
        ("rows that stay for ever", f"{kept:,.0f} bytes".replace(",", " "), of_tables),
        (
            "`events`, for `event_retention_days`",
            f"{grown.bytes_of.get('events', 0.0):,.0f} bytes".replace(",", " "),
            f"{grown.events:.1f} of them",
        ),
        ("`pgqueuer_log`, for a day", f"{grown.bytes_of.get('pgqueuer_log', 0.0):,.0f} bytes".replace(",", " "), ""),
        ("PostgreSQL's log (WAL)", f"{grown.log_bytes / 1000:.0f} kB", "with whole pages after a checkpoint"),
        ("transactions", f"{grown.transactions:.1f}", ""),
        ("requests to a bucket", f"{sum(grown.requests.values()):.1f}", requests),
    ]
    return _table(("per image", "", "of that"), rows)


def _plan_table(plans: Sequence[Plan], grown: Growth) -> str:
    kept = sum(grown.bytes_of.get(name, 0.0) for name in _FOR_EVER)
    events = grown.bytes_of.get("events", 0.0) * Settings.model_fields["event_retention_days"].default
    requests = sum(grown.requests.values())

    def row(what: str, *values: str) -> tuple[str, ...]:
        return (what, *values)

    share = [plan.images_per_day / plan.installations for plan in plans]
    rows = [
        row("installations, each with its own PostgreSQL", *(str(p.installations) for p in plans)),
        row("**of each installation:** images/s, the day's mean", *(_short(p.images_per_second) for p in plans)),
        row("images/s in the busiest minutes", *(_short(p.peak_per_second) for p in plans)),
        row("calls at vendors at once", *(_whole(p.calls) for p in plans)),
        row("providers × `max_concurrency`", *(f"{p.site.providers} × {p.site.places}" for p in plans)),
        row("worker processes × `slots`", *(f"{p.site.workers} × {p.site.slots}" for p in plans)),
        row("API processes", *(str(p.site.apis) for p in plans)),
        row("open streams", *(_whole(p.streams) for p in plans)),
        row("PostgreSQL, cores", *(str(p.site.postgres_cores) for p in plans)),
        row("PostgreSQL, connections at most", *(_whole(p.connections) for p in plans)),
        row("PostgreSQL, transactions/s at peak", *(_whole(p.peak_per_second * grown.transactions) for p in plans)),
        row("PostgreSQL, log (WAL) a day", *(_size(each * grown.log_bytes) for each in share)),
        row("rows that stay, a year", *(_size(365 * each * kept) for each in share)),
        row("`events`, once retention has set in", *(_size(each * events) for each in share)),
        row("bucket, requests/s at peak", *(_whole(p.peak_per_second * requests) for p in plans)),
    ]
    return _table(("", *(f"{_volume(p.images_per_day)} a day" for p in plans)), rows)


def _wait_table(simulated: Sequence[Simulated]) -> str:
    columns = ("", *(f"{_volume(each.plan.images_per_day)} a day" for each in simulated))
    rows: list[tuple[str, ...]] = []
    for name in simulated[0].steady.utilisation:
        rows.append((f"{name}, busy", *(f"{each.steady.utilisation[name]:.0%}" for each in simulated)))
    for title, outcomes in (
        ("jobs one by one", [each.steady for each in simulated]),
        (f"bursts of {BURST_JOBS} jobs", [each.bursts for each in simulated]),
    ):
        rows += [
            (f"**{title}:** submit → vendor call, p50", *(_seconds(o.call_wait_p50) for o in outcomes)),
            ("· p99", *(_seconds(o.call_wait_p99) for o in outcomes)),
            ("· all but the vendor's time, p50", *(_seconds(o.added_p50) for o in outcomes)),
            ("· p99", *(_seconds(o.added_p99) for o in outcomes)),
            ("· images awaiting admission, mean", *(_short(o.mean_backlog) for o in outcomes)),
            ("· at most", *(_whole(o.max_backlog) for o in outcomes)),
            ("· keeps up", *("yes" if o.is_stable else "no" for o in outcomes)),
        ]
    return _table(columns, rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ("---", *("--:" for _ in columns[1:])), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _volume(images: float) -> str:
    return f"{images / 1e6:,.0f} million".replace(",", " ") if images >= 1e6 else f"{images / 1e6:.1f} million"


def _short(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.1f}"


def _whole(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def _size(count: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count / 1e6:.0f} MB"


def _seconds(value: float) -> str:
    return f"{1000 * value:.0f} ms" if value < 1 else f"{value:.1f} s"


def _given(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    if name not in NAMES:
        raise ValueError(f"--set takes one of {', '.join(NAMES)}, not `{name}`")
    return name, float(number)


if __name__ == "__main__":
    sys.exit(main())
