"""The job's side of a change: its lock, its event log, and what follows when an image has ended: others that awaited
its picture go on or end too, and the last one ends the job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.events import EventType, image_ended, job_ended
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import ImageStatus, JobStatus, ended_job_status
from safelight.domain.progress import Counts, count
from safelight.engine.image.outcome import without_reference

_SQL = load("jobs")
_REFERENCES = load("references")
_SETTLE = load("settle")


@dataclass(frozen=True, slots=True)
class LockedJob:
    """A job whose row this transaction holds. `is_budgeted`: what its calls may cost is bounded."""

    id: JobId
    status: JobStatus
    run_is_over: bool
    is_paused: bool
    is_budgeted: bool


@asynccontextmanager
async def locked_job(pool: asyncpg.Pool, job_id: JobId) -> AsyncIterator[tuple[asyncpg.Connection, LockedJob]]:
    """A transaction that begins with the job's lock, as every one that changes a job or its images must.

    Raises LookupError when there is no such job.
    """
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        row = await conn.fetchrow(_SQL.lock_job, job_id)
        if row is None:
            raise LookupError(job_id)
        locked = LockedJob(
            row["id"], JobStatus(row["status"]), row["run_is_over"], row["is_paused"], row["is_budgeted"]
        )
        yield conn, locked  # pyright: ignore[reportReturnType]


@dataclass(frozen=True, slots=True)
class Happened:
    """An event that is yet to be told; `image_id` is the image that it is about, if it is about one."""

    type: EventType
    image_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


async def append_events(conn: asyncpg.Connection, job_id: JobId, events: Sequence[Happened]) -> None:
    """The events are the job's next, in this order. Part of the caller's transaction: they exist exactly when what they
    tell does."""
    if not events:
        return
    types = [event.type.value for event in events]
    row = await conn.fetchrow(
        _SQL.append_events,
        job_id,
        types,
        [event.image_id for event in events],
        [dict(event.data) for event in events],
    )
    assert row is not None, "the job's row is locked by this transaction"
    if row["is_listened_to"]:
        await conn.execute(_SQL.post_events, job_id, types, row["seq"] - len(events), row["account"])


async def append_event(
    conn: asyncpg.Connection,
    job_id: JobId,
    event: EventType,
    *,
    image_id: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """`append_events` for one."""
    await append_events(conn, job_id, [Happened(event, image_id, data or {})])


async def start_job(conn: asyncpg.Connection, job_id: JobId) -> None:
    """The job is generating; says so once per job."""
    if await conn.fetchval(_SQL.start_job, job_id):
        await append_event(conn, job_id, EventType.JOB_STARTED)


async def mark_canceling(conn: asyncpg.Connection, job_id: JobId) -> None:
    if await conn.fetchval(_SQL.cancel_job, job_id):
        await append_event(conn, job_id, EventType.JOB_CANCELING)


async def reopen_job(conn: asyncpg.Connection, job_id: JobId, *, by_user: bool, run_limit_seconds: float) -> int | None:
    """The job's next run begins; None when the present one has not ended."""
    return await conn.fetchval(_SQL.reopen_job, job_id, int(by_user), run_limit_seconds)


async def end_job_if_done(conn: asyncpg.Connection, job_id: JobId) -> JobStatus | None:
    """Ends the run when its last image has ended, those included that await a picture which will not come: one terminal
    event per run. Every transaction that ends an image comes by here, last."""
    unfinished = await conn.fetchval(_SQL.unfinished, job_id)
    if unfinished == "awaiting" and await settle_children(conn, job_id):
        unfinished = await conn.fetchval(_SQL.unfinished, job_id)
    if unfinished is not None:
        return None
    counts = await counts_of(conn, job_id)
    status = ended_job_status(total=counts.total, completed=counts.completed, canceled=counts.canceled)
    if await conn.fetchval(_SQL.end_job, job_id, status.value) is None:
        return None
    await append_event(
        conn,
        job_id,
        job_ended(status),
        data={
            "total": counts.total,
            "completed": counts.completed,
            "failed": counts.failed,
            "refused": counts.refused,
            "canceled": counts.canceled,
            "uncertain": counts.uncertain,
        },
    )
    return status


async def settle_children(conn: asyncpg.Connection, job_id: JobId) -> int:
    """How many images of a locked job await no picture any more: those whose parents have all got theirs may begin, and
    those with a parent that will have none have ended, and so on down the line."""
    settled = len(await conn.fetch(_REFERENCES.release_children, job_id))
    while lost := await conn.fetch(_REFERENCES.lost_children, job_id):
        for row in lost:
            why = without_reference(row["parent_id"], ImageStatus(row["parent_status"])).as_json()
            await conn.fetchrow(_SETTLE.end_queued_image, row["row_id"], ImageStatus.FAILED.value, why)
            await append_event(conn, job_id, image_ended(ImageStatus.FAILED), image_id=row["id"], data={"error": why})
        settled += len(lost)
    return settled


async def counts_of(conn: asyncpg.Connection, job_id: JobId) -> Counts:
    rows = await conn.fetch(_SQL.count_images, job_id)
    return count({ImageStatus(row["status"]): row["images"] for row in rows})
