"""What becomes of an owned image, step by step, inside of a transaction that has its job's lock.

Every statement names the image's state and the claim's token: without the lease nothing is written, and the answer says
so.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg

from safelight.db.statements import load
from safelight.domain.attempts import Buy, GiveUp
from safelight.domain.errors import Billed
from safelight.domain.events import EventType, image_ended
from safelight.domain.fallback import Way, way_after_refusal
from safelight.domain.ids import ImageRowId
from safelight.domain.lifecycle import FailureStage, ImageStatus
from safelight.domain.retry import backoff_seconds
from safelight.engine.image.journal import append_event, end_job_if_done
from safelight.engine.image.lease import LEASE_LOST, Lease, LeaseLost
from safelight.engine.image.outcome import Ended, ImageError, Released, TryAgain, given_up, stopped
from safelight.engine.image.provider_book import database_now, next_step_of

_CLAIM = load("claim")
_ATTEMPTS = load("attempts")
_SETTLE = load("settle")
_FALLBACK = load("fallback")

_STAGES = {
    ImageStatus.PROCESSING: FailureStage.PROCESSING,
    ImageStatus.GENERATING: FailureStage.GENERATING,
    ImageStatus.UPLOADING: FailureStage.UPLOADING,
}


async def try_again(
    conn: asyncpg.Connection, lease: Lease, verdict: TryAgain, error: ImageError, unit_seconds: float
) -> Released | LeaseLost:
    """Back to the backlog after a failure, later each time, or when the vendor said; the log tells why."""
    failures = lease.failures + verdict.counts_as_failure
    after_seconds = verdict.after_seconds
    if after_seconds is None:
        after_seconds = backoff_seconds(max(failures, 1), jitter=random.random(), unit_seconds=unit_seconds)  # noqa: S311 - spreads load, hides nothing
    released = await release(conn, lease, after_seconds=after_seconds, failures=failures)
    if isinstance(released, Released):
        await append_event(
            conn,
            lease.job_id,
            EventType.IMAGE_RETRYING,
            image_id=lease.image_id,
            data={"error": error.as_json(), "after_seconds": round(after_seconds, 3)},
        )
    return released


async def release(
    conn: asyncpg.Connection,
    lease: Lease,
    *,
    at: datetime | None = None,
    after_seconds: float = 0.0,
    failures: int,
) -> Released | LeaseLost:
    """Back to the backlog, due `at` or `after_seconds` from now; nobody owns it."""
    due = at or await database_now(conn) + timedelta(seconds=after_seconds)
    row = await conn.fetchval(_CLAIM.release, lease.row_id, lease.status.value, lease.token, due, failures)
    return LEASE_LOST if row is None else Released()


async def end(
    conn: asyncpg.Connection, lease: Lease, status: ImageStatus, error: ImageError | None
) -> Ended | LeaseLost:
    """The image ends without a picture, and with the last one its job."""
    stage = _STAGES[lease.status]
    why = (await told(conn, lease.row_id, error)).as_json() if error else None
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


async def end_stopped(conn: asyncpg.Connection, lease: Lease, stop: str) -> Ended | LeaseLost:
    """It ends as its caller, or its run's end, asked."""
    return await end(conn, lease, *stopped(stop))


async def end_if_stopped(conn: asyncpg.Connection, lease: Lease) -> Ended | LeaseLost:
    """A fenced write did not land: the image was asked to stop, or it is not ours any more."""
    fenced = await conn.fetchrow(_ATTEMPTS.fence_image, lease.row_id, lease.status.value, lease.token)
    if fenced is None or not fenced["stop"]:
        return LEASE_LOST
    return await end_stopped(conn, lease, fenced["stop"])


async def give_up(
    conn: asyncpg.Connection, lease: Lease, spent: GiveUp, *, last: ImageError | None
) -> Released | Ended | LeaseLost:
    """Its budget is spent: it goes on to its next provider if it is spent at this one only, or ends."""
    status, error = given_up(spent, last=last)
    if spent.at_provider and lease.has_next_provider:
        return await _go(conn, lease, Way.NEXT_PROVIDER, error)
    return await end(conn, lease, status, error)


async def other_way(
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
    why = (await told(conn, lease.row_id, error)).as_json()
    data = {"error": why, "way": way.value, "provider": row["provider"], "model": row["model"]}
    await append_event(conn, lease.job_id, EventType.IMAGE_RETRYING, image_id=lease.image_id, data=data)
    return Released()


async def turned_away(conn: asyncpg.Connection, lease: Lease) -> Released | Ended | LeaseLost:
    """No call may be made: the image was asked to stop, or is not ours any more, or a gate is shut and it waits."""
    fenced = await conn.fetchrow(_ATTEMPTS.fence_image, lease.row_id, lease.status.value, lease.token)
    if fenced is None:
        return LEASE_LOST
    if fenced["stop"]:
        return await end_stopped(conn, lease, fenced["stop"])
    return await release(conn, lease, failures=lease.failures)


async def told(conn: asyncpg.Connection, row_id: ImageRowId, error: ImageError) -> ImageError:
    """The error with its billed flag: its own, or what the attempts of this run say."""
    if error.billed is not None:
        return error
    billed: bool | None = await conn.fetchval(_ATTEMPTS.billed_so_far, row_id)
    return replace(error, billed={True: Billed.YES, False: Billed.NO, None: Billed.UNKNOWN}[billed])


async def has_worked(conn: asyncpg.Connection, provider: str) -> bool:
    """Whether any call to it has ever brought a picture."""
    return bool(await conn.fetchval(_ATTEMPTS.provider_has_worked, provider))
