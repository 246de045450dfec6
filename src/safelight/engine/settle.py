"""Every write that moves an owned image on, each one fenced transaction that locks the job first.

What belongs to an attempt (its receipt, its cost; see `provider_book`) is written whether or not the lease still holds.
What belongs to the image is written only under the lease.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import asyncpg

from safelight.db.statements import load
from safelight.domain.attempts import Adopt, Buy, GiveUp, Poll, WaitUntil
from safelight.domain.errors import Billed
from safelight.domain.events import EventType, image_ended
from safelight.domain.fallback import Way, way_after_refusal
from safelight.domain.ids import AttemptId, ImageRowId, JobId
from safelight.domain.lifecycle import FailureStage, ImageStatus, JobStatus
from safelight.domain.retry import backoff_seconds
from safelight.engine.charge import cover_call
from safelight.engine.journal import append_event, end_job_if_done, locked_job, reopen_job, start_job
from safelight.engine.lease import LEASE_LOST, Lease, LeaseLost
from safelight.engine.outcome import AttemptEnd, End, ImageError, TryAgain, Verdict, broken, given_up, stopped
from safelight.engine.outcome import Ended as Ended  # what a write can end with is named here, whole
from safelight.engine.outcome import Opened as Opened
from safelight.engine.outcome import Released as Released
from safelight.engine.provider_book import close_attempt, database_now, insert_receipt, next_step_of
from safelight.engine.traces import told_as
from safelight.storage.staging import Receipt
from safelight.tracing.spans import SpanName

_CLAIM = load("claim")
_ATTEMPTS = load("attempts")
_SETTLE = load("settle")
_FALLBACK = load("fallback")
_CONTROL = load("control")

BROKEN_STEPS_LIMIT = 5
"""Steps in a row that may break off inside Safelight before an image fails. Chosen."""

_STAGES = {
    ImageStatus.PROCESSING: FailureStage.PROCESSING,
    ImageStatus.GENERATING: FailureStage.GENERATING,
    ImageStatus.UPLOADING: FailureStage.UPLOADING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRendition:
    """One output that lies in the blob store under `key`. An internal one is shown nowhere."""

    name: str
    key: str
    format: str
    mime: str
    width_px: int
    height_px: int
    length: int
    sha256: str
    is_internal: bool = False


@told_as(SpanName.COMMIT)
async def open_attempt(
    pool: asyncpg.Pool, lease: Lease, attempt_id: AttemptId, *, call_seconds: float, grace_seconds: float
) -> Opened | Released | Ended | LeaseLost:
    """Intent before money: the attempt is `sent` and the image `generating`, or the image goes another way.

    Asks the re-send rule, the pause, the budgets, the gates, the caller's stop and the run's end once more, under the
    locks. The call may take `call_seconds`.
    """
    async with locked_job(pool, lease.job_id) as (conn, job):
        if job.run_is_over:
            return await _end_stopped(conn, lease, "deadline")
        if job.is_paused or not (lease.is_fresh or isinstance(await next_step_of(conn, lease), Buy)):
            return await _release(conn, lease, failures=lease.failures)
        if job.is_budgeted and (uncovered := await cover_call(conn, lease)) is not None:
            return await _end(conn, lease, ImageStatus.FAILED, uncovered)
        opened = await conn.fetchrow(
            _ATTEMPTS.open_attempt, attempt_id, lease.row_id, lease.token, grace_seconds, call_seconds
        )
        if opened is None:
            return await _turned_away(conn, lease)
        if job.status is JobStatus.PENDING:
            await start_job(conn, lease.job_id)
        await append_event(
            conn, lease.job_id, EventType.IMAGE_STARTED, image_id=lease.image_id, data={"attempt": opened["number"]}
        )
    return Opened(number=opened["number"], is_watched=opened["is_watched"])


@told_as(SpanName.RECEIVE)
async def receive(pool: asyncpg.Pool, lease: Lease, receipt: Receipt) -> Lease | Ended | LeaseLost:
    """The receipt is committed, and the image is `uploading` if the lease holds and nobody asked it to stop.

    Without the lease the picture is kept all the same, and whoever owns the image next adopts it: a waiting image is
    due at once, and one that ended `uncertain` or `failed` opens again in the sweep.
    """
    async with locked_job(pool, lease.job_id) as (conn, _job):
        return await _receive(conn, lease, receipt)


@told_as(SpanName.SETTLE)
async def receive_and_complete(pool: asyncpg.Pool, lease: Lease, receipt: Receipt) -> Ended | LeaseLost:
    """As `receive` and `complete` one after the other, of a picture of which nothing is stored: one transaction."""
    async with locked_job(pool, lease.job_id) as (conn, _job):
        received = await _receive(conn, lease, receipt)
        if isinstance(received, Lease):
            return await _complete(conn, received, receipt.attempt_id, ())
        is_settled = await conn.fetchval(_SETTLE.is_settled, receipt.attempt_id)
        return Ended(ImageStatus.COMPLETED) if is_settled else received


async def _receive(conn: asyncpg.Connection, lease: Lease, receipt: Receipt) -> Lease | Ended | LeaseLost:
    await insert_receipt(conn, receipt)
    moved = await conn.fetchval(_ATTEMPTS.start_uploading, lease.row_id, lease.status.value, lease.token)
    if moved is None:
        await conn.fetchval(_SETTLE.hasten, lease.row_id)
        return await _end_if_stopped(conn, lease)
    await append_event(conn, lease.job_id, EventType.IMAGE_RECEIVED, image_id=lease.image_id)
    return lease.moved(ImageStatus.UPLOADING)


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
            other = None if fenced["stop"] else await _other_way(conn, lease, verdict.status, end.error)
            if other is not None:
                return other
            if not verdict.unless_provider_worked or not await _has_worked(conn, lease.provider):
                return await _end(conn, lease, verdict.status, end.error)
            verdict = TryAgain(counts_as_failure=False)
        if fenced["stop"]:
            return await _end_stopped(conn, lease, fenced["stop"])
        match await next_step_of(conn, lease):
            case GiveUp() as spent:
                return await _give_up(conn, lease, spent, last=end.error)
            case WaitUntil(at):
                return await _release(conn, lease, at=at, failures=lease.failures)
            case Adopt() | Poll():
                return await _release(conn, lease, after_seconds=0.0, failures=0)
            case Buy():
                return await _try_again(conn, lease, verdict, end.error, retry_unit_seconds)


@told_as(SpanName.SETTLE)
async def complete(
    pool: asyncpg.Pool, lease: Lease, attempt_id: str, renditions: Sequence[StoredRendition]
) -> Ended | LeaseLost:
    """The image is completed for ever; its attempt is settled and its outputs are recorded, in one transaction.

    Asked again after a COMMIT that was not confirmed, or by somebody whose picture another one settled, it says so.
    """
    async with locked_job(pool, lease.job_id) as (conn, _job):
        return await _complete(conn, lease, attempt_id, renditions)


async def _complete(
    conn: asyncpg.Connection, lease: Lease, attempt_id: str, renditions: Sequence[StoredRendition]
) -> Ended | LeaseLost:
    if await conn.fetchval(_SETTLE.complete_image, lease.row_id, lease.token, attempt_id) is None:
        is_settled = await conn.fetchval(_SETTLE.is_settled, attempt_id)
        return Ended(ImageStatus.COMPLETED) if is_settled else LEASE_LOST
    if renditions:
        columns = ("name", "key", "format", "mime", "width_px", "height_px", "length", "sha256", "is_internal")
        await conn.execute(
            _SETTLE.insert_renditions, lease.row_id, *([getattr(r, c) for r in renditions] for c in columns)
        )
    await append_event(conn, lease.job_id, EventType.IMAGE_COMPLETED, image_id=lease.image_id)
    await end_job_if_done(conn, lease.job_id)
    return Ended(ImageStatus.COMPLETED)


@told_as(SpanName.SETTLE)
async def end(pool: asyncpg.Pool, lease: Lease, status: ImageStatus, error: ImageError) -> Ended | LeaseLost:
    """The image ends without a picture, under its lease."""
    async with locked_job(pool, lease.job_id) as (conn, _job):
        return await _end(conn, lease, status, error)


@told_as(SpanName.SETTLE)
async def give_up(pool: asyncpg.Pool, lease: Lease, spent: GiveUp) -> Released | Ended | LeaseLost:
    """The image's budget is spent: it goes on to its next provider if it is spent at this one only, or ends."""
    async with locked_job(pool, lease.job_id) as (conn, _job):
        return await _give_up(conn, lease, spent, last=None)


@told_as(SpanName.SETTLE)
async def end_stopped(pool: asyncpg.Pool, lease: Lease, stop: str) -> Ended | LeaseLost:
    """The image ends as its caller, or its run's end, asked; a picture that was bought stays staged for a retry."""
    async with locked_job(pool, lease.job_id) as (conn, _job):
        return await _end_stopped(conn, lease, stop)


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
        return await _release(conn, lease, at=at, after_seconds=after_seconds, failures=kept)


async def hand_back(pool: asyncpg.Pool, lease: Lease, *, retry_unit_seconds: float) -> Released | Ended | LeaseLost:
    """An image whose owner lives but no longer works on it: its step broke off. It is tried again, not for ever."""
    broken_steps = lease.broken_steps + 1
    pause = backoff_seconds(broken_steps, jitter=random.random(), unit_seconds=retry_unit_seconds)  # noqa: S311 - spreads load, hides nothing
    async with locked_job(pool, lease.job_id) as (conn, _job):
        if broken_steps > BROKEN_STEPS_LIMIT:
            return await _end(conn, lease, ImageStatus.FAILED, broken(broken_steps))
        due = await database_now(conn) + timedelta(seconds=pause)
        row = await conn.fetchval(_CLAIM.hand_back, lease.row_id, lease.status.value, lease.token, due)
        return LEASE_LOST if row is None else Released()


async def end_queued(conn: asyncpg.Connection, job_id: JobId, row_id: ImageRowId, *, stop: str) -> bool:
    """An image that nobody owns ends as asked; False when somebody claimed it meanwhile. The job is locked."""
    status, error = stopped(stop)
    why = (await _told(conn, row_id, error)).as_json() if error else None
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


async def _try_again(
    conn: asyncpg.Connection, lease: Lease, verdict: TryAgain, error: ImageError, unit_seconds: float
) -> Released | LeaseLost:
    failures = lease.failures + verdict.counts_as_failure
    after_seconds = verdict.after_seconds
    if after_seconds is None:
        after_seconds = backoff_seconds(max(failures, 1), jitter=random.random(), unit_seconds=unit_seconds)  # noqa: S311 - spreads load, hides nothing
    released = await _release(conn, lease, after_seconds=after_seconds, failures=failures)
    if isinstance(released, Released):
        await append_event(
            conn,
            lease.job_id,
            EventType.IMAGE_RETRYING,
            image_id=lease.image_id,
            data={"error": error.as_json(), "after_seconds": round(after_seconds, 3)},
        )
    return released


async def _release(
    conn: asyncpg.Connection,
    lease: Lease,
    *,
    at: datetime | None = None,
    after_seconds: float = 0.0,
    failures: int,
) -> Released | LeaseLost:
    due = at or await database_now(conn) + timedelta(seconds=after_seconds)
    row = await conn.fetchval(_CLAIM.release, lease.row_id, lease.status.value, lease.token, due, failures)
    return LEASE_LOST if row is None else Released()


async def _end(
    conn: asyncpg.Connection, lease: Lease, status: ImageStatus, error: ImageError | None
) -> Ended | LeaseLost:
    stage = _STAGES[lease.status]
    why = (await _told(conn, lease.row_id, error)).as_json() if error else None
    row = await conn.fetchval(
        _SETTLE.end_image,
        lease.row_id,
        lease.status.value,
        lease.token,
        status.value,
        stage.value,
        why,
    )
    if row is None:
        return LEASE_LOST
    data = {"stage": stage.value, "error": why}
    await append_event(conn, lease.job_id, image_ended(status), image_id=lease.image_id, data=data)
    await end_job_if_done(conn, lease.job_id)
    return Ended(status)


async def _end_stopped(conn: asyncpg.Connection, lease: Lease, stop: str) -> Ended | LeaseLost:
    return await _end(conn, lease, *stopped(stop))


async def _end_if_stopped(conn: asyncpg.Connection, lease: Lease) -> Ended | LeaseLost:
    """A fenced write did not land: the image was asked to stop, or it is not ours any more."""
    fenced = await conn.fetchrow(_ATTEMPTS.fence_image, lease.row_id, lease.status.value, lease.token)
    if fenced is None or not fenced["stop"]:
        return LEASE_LOST
    return await _end_stopped(conn, lease, fenced["stop"])


async def _give_up(
    conn: asyncpg.Connection, lease: Lease, spent: GiveUp, *, last: ImageError | None
) -> Released | Ended | LeaseLost:
    status, error = given_up(spent, last=last)
    if spent.at_provider and lease.has_next_provider:
        return await _go(conn, lease, Way.NEXT_PROVIDER, error)
    return await _end(conn, lease, status, error)


async def _other_way(
    conn: asyncpg.Connection, lease: Lease, status: ImageStatus, error: ImageError
) -> Released | LeaseLost | None:
    """Where an image goes on that would end here; None when there is nowhere, or the re-send rule forbids the call."""
    if status is ImageStatus.REFUSED:
        way = way_after_refusal(
            lease.on_refusal, has_next=lease.has_next_provider, has_alternate=lease.has_alternate_prompt
        )
    else:
        way = Way.NEXT_PROVIDER if lease.has_next_provider else None
    if way is None:
        return None
    step = await next_step_of(conn, lease)
    is_allowed = isinstance(step, Buy) or (isinstance(step, GiveUp) and step.at_provider)
    return await _go(conn, lease, way, error) if is_allowed else None


async def _go(conn: asyncpg.Connection, lease: Lease, way: Way, error: ImageError) -> Released | LeaseLost:
    statement = _FALLBACK.next_target if way is Way.NEXT_PROVIDER else _FALLBACK.alternate_prompt
    row = await conn.fetchrow(statement, lease.row_id, lease.status.value, lease.token)
    if row is None:
        return LEASE_LOST
    told = await _told(conn, lease.row_id, error)
    data = {"error": told.as_json(), "way": way.value, "provider": row["provider"], "model": row["model"]}
    await append_event(conn, lease.job_id, EventType.IMAGE_RETRYING, image_id=lease.image_id, data=data)
    return Released()


async def _turned_away(conn: asyncpg.Connection, lease: Lease) -> Released | Ended | LeaseLost:
    """No call may be made: the image was asked to stop, or is not ours any more, or a gate is shut and it waits."""
    fenced = await conn.fetchrow(_ATTEMPTS.fence_image, lease.row_id, lease.status.value, lease.token)
    if fenced is None:
        return LEASE_LOST
    if fenced["stop"]:
        return await _end_stopped(conn, lease, fenced["stop"])
    return await _release(conn, lease, failures=lease.failures)


async def _told(conn: asyncpg.Connection, row_id: ImageRowId, error: ImageError) -> ImageError:
    """The error with its billed flag: its own, or what the attempts of this run say."""
    if error.billed is not None:
        return error
    billed: bool | None = await conn.fetchval(_ATTEMPTS.billed_so_far, row_id)
    return replace(error, billed={True: Billed.YES, False: Billed.NO, None: Billed.UNKNOWN}[billed])


async def _has_worked(conn: asyncpg.Connection, provider: str) -> bool:
    return bool(await conn.fetchval(_ATTEMPTS.provider_has_worked, provider))
