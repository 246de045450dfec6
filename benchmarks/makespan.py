"""The way of fourteen images that were ordered at once: when each step was over for the first and for the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from benchmarks.service import Bench, run_steady_job

_TIMES = """
    SELECT (SELECT created_at FROM jobs WHERE id = $1) AS accepted,
           (SELECT completed_at FROM jobs WHERE id = $1) AS ended,
           (SELECT array_agg(created ORDER BY created) FROM pgqueuer_log
             WHERE status = 'queued' AND created >= $2) AS admitted,
           (SELECT array_agg(created ORDER BY created) FROM pgqueuer_log
             WHERE status = 'picked' AND created >= $2) AS taken
"""
_EVENTS = "SELECT array_agg(created_at ORDER BY created_at) FROM events WHERE job_id = $1 AND type = $2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Milliseconds since the request was sent, without the vendor's own time; `ms` is what the step adds for the last
    image."""

    until: str
    first_ms: float
    last_ms: float
    ms: float


async def steps_of(bench: Bench, database: asyncpg.Connection) -> list[Step]:
    """Of one job, in the order of an image's way; another one before it has warmed everything up."""
    await run_steady_job(bench)
    began, job_id, ended = await run_steady_job(bench)
    times = await database.fetchrow(_TIMES, job_id, began)
    assert times is not None
    vendor = timedelta(seconds=bench.vendor_seconds)
    called = sorted(call.at for call in bench.steady.vendor.calls[-len(times["taken"]) :])
    moments = [
        ("the job is accepted", [times["accepted"]]),
        ("an image is admitted", times["admitted"]),
        ("a worker has taken it", times["taken"]),
        ("its attempt is committed", await _events(database, job_id, "image.started")),
        ("the vendor has the call", called),
        (
            "its picture is decoded, its receipt committed",
            _without(vendor, await _events(database, job_id, "image.received")),
        ),
        ("it is stored and completed", _without(vendor, await _events(database, job_id, "image.completed"))),
        ("the job has ended", [ended - vendor]),
    ]
    return _steps(began, moments)


def _steps(began: datetime, moments: Sequence[tuple[str, Sequence[datetime]]]) -> list[Step]:
    steps: list[Step] = []
    before_ms = 0.0
    for until, times in moments:
        first_ms, last_ms = (1000 * (moment - began).total_seconds() for moment in (min(times), max(times)))
        steps.append(Step(until=until, first_ms=first_ms, last_ms=last_ms, ms=last_ms - before_ms))
        before_ms = last_ms
    return steps


async def _events(database: asyncpg.Connection, job_id: str, kind: str) -> list[datetime]:
    moments: list[datetime] | None = await database.fetchval(_EVENTS, job_id, kind)
    assert moments is not None, f"no image came to `{kind}`"
    return moments


def _without(vendor: timedelta, moments: Sequence[datetime]) -> list[datetime]:
    return [moment - vendor for moment in moments]
