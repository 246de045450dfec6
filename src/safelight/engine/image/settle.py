"""Every write that moves an owned image on, each one fenced transaction that locks the job first.

What belongs to an attempt (its receipt, its cost; see `provider_book`) is written whether or not the lease still holds.
What belongs to the image is written only under the lease.
"""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import asyncpg

from safelight.db.statements import load
from safelight.domain.attempts import Adopt, Buy, GiveUp, Poll, WaitUntil
from safelight.domain.events import EventType, image_ended
from safelight.domain.ids import AttemptId, ImageRowId, JobId
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.retry import backoff_seconds
from safelight.engine.image import moves
from safelight.engine.image.journal import (
    append_event,
    locked_job,
    reopen_job,
)
from safelight.engine.image.lease import LEASE_LOST, Lease, LeaseLost
from safelight.engine.image.outcome import (
    AttemptEnd,
    End,
    Ended,
    ImageError,
    Released,
    TryAgain,
    Verdict,
    broken,
    stopped,
)
from safelight.engine.image.provider_book import close_attempt, database_now, next_step_of
from safelight.engine.image.traces import told_as
from safelight.tracing.spans import SpanName

_CLAIM = load("claim")
_ATTEMPTS = load("attempts")
_SETTLE = load("settle")

BROKEN_STEPS_LIMIT = 5
"""Steps in a row that may break off inside Safelight before an image fails. Chosen."""


@told_as(SpanName.SETTLE)
async def conclude(
    pool: asyncpg.Pool,
    lease: Lease,
    attempt_id: AttemptId,
    end: AttemptEnd,
    verdict: Verdict,
    *,
    retry_unit_seconds: float,
) -> Released | Ended | LeaseLost:
    """The attempt is closed, and the image goes back to the backlog or ends, in one transaction."""
    async with locked_job(pool, lease.job_id) as (conn, _job):
        await close_attempt(conn, attempt_id, end)
        fenced = await conn.fetchrow(_ATTEMPTS.fence_image, lease.row_id, lease.status.value, lease.token)
        if fenced is None:
            return LEASE_LOST
        if isinstance(verdict, End):
            other = None if fenced["stop"] else await moves.other_way(conn, lease, verdict.status, end.error)
            if other is not None:
                return other
            if not verdict.unless_provider_worked or not await moves.has_worked(conn, lease.provider):
                return await moves.end(conn, lease, verdict.status, end.error)
            verdict = TryAgain(counts_as_failure=False)
        if fenced["stop"]:
            return await moves.end_stopped(conn, lease, fenced["stop"])
        match await next_step_of(conn, lease):
            case GiveUp() as spent:
                return await moves.give_up(conn, lease, spent, last=end.error)
            case WaitUntil(at):
                return await moves.release(conn, lease, at=at, failures=lease.failures)
            case Adopt() | Poll():
                return await moves.release(conn, lease, after_seconds=0.0, failures=0)
            case Buy():
                return await moves.try_again(conn, lease, verdict, end.error, retry_unit_seconds)


@told_as(SpanName.SETTLE)
async def end(pool: asyncpg.Pool, lease: Lease, status: ImageStatus, error: ImageError) -> Ended | LeaseLost:
    """The image ends without a picture, under its lease."""
    async with locked_job(pool, lease.job_id) as (conn, _job):
        return await moves.end(conn, lease, status, error)


@told_as(SpanName.SETTLE)
async def give_up(pool: asyncpg.Pool, lease: Lease, spent: GiveUp) -> Released | Ended | LeaseLost:
    """The image's budget is spent: it goes on to its next provider if it is spent at this one only, or ends."""
    async with locked_job(pool, lease.job_id) as (conn, _job):
        return await moves.give_up(conn, lease, spent, last=None)


@told_as(SpanName.SETTLE)
async def end_stopped(pool: asyncpg.Pool, lease: Lease, stop: str) -> Ended | LeaseLost:
    """The image ends as its caller, or its run's end, asked; a picture that was bought stays staged for a retry."""
    async with locked_job(pool, lease.job_id) as (conn, _job):
        return await moves.end_stopped(conn, lease, stop)


@told_as(SpanName.SETTLE)
async def release(
    pool: asyncpg.Pool,
    lease: Lease,
    *,
    at: datetime | None = None,
    after_seconds: float = 0.0,
    failures: int | None = None,
) -> Released | LeaseLost:
    """The image is back in the backlog, due `at` or `after_seconds` from now."""
    async with locked_job(pool, lease.job_id) as (conn, _job):
        kept = lease.failures if failures is None else failures
        return await moves.release(conn, lease, at=at, after_seconds=after_seconds, failures=kept)


async def hand_back(pool: asyncpg.Pool, lease: Lease, *, retry_unit_seconds: float) -> Released | Ended | LeaseLost:
    """An image whose owner lives but no longer works on it: its step broke off. It is tried again, not for ever."""
    broken_steps = lease.broken_steps + 1
    pause = backoff_seconds(broken_steps, jitter=random.random(), unit_seconds=retry_unit_seconds)  # noqa: S311 - spreads load, hides nothing
    async with locked_job(pool, lease.job_id) as (conn, _job):
        if broken_steps > BROKEN_STEPS_LIMIT:
            return await moves.end(conn, lease, ImageStatus.FAILED, broken(broken_steps))
        due = await database_now(conn) + timedelta(seconds=pause)
        row = await conn.fetchval(_CLAIM.hand_back, lease.row_id, lease.status.value, lease.token, due)
        return LEASE_LOST if row is None else Released()


async def end_queued(conn: asyncpg.Connection, job_id: JobId, row_id: ImageRowId, *, stop: str) -> bool:
    """An image that nobody owns ends as asked; False when somebody claimed it meanwhile. The job is locked."""
    status, error = stopped(stop)
    why = (await moves.told(conn, row_id, error)).as_json() if error else None
    row = await conn.fetchrow(_SETTLE.end_queued_image, row_id, status.value, why)
    if row is None:
        return False
    await append_event(conn, job_id, image_ended(status), image_id=row["id"], data={"error": why} if why else {})
    return True


async def adopt_late_receipt(
    pool: asyncpg.Pool, job_id: JobId, row_id: ImageRowId, *, run_limit_seconds: float
) -> tuple[ImageRowId, int] | None:
    """An image that ended without its picture opens again, with its job; the answer is what to put on the queue."""
    async with locked_job(pool, job_id) as (conn, _job):
        row = await conn.fetchrow(_SETTLE.adopt_receipt, row_id)
        if row is None:
            return None
        await reopen_job(conn, job_id, by_user=False, run_limit_seconds=run_limit_seconds)
        await append_event(conn, job_id, EventType.IMAGE_RECEIVED, image_id=row["id"], data={"late": True})
        return row["row_id"], row["generation"]
