"""The sweep heals what was lost: hints, owners, answers, ends. It re-queues; it never runs an image itself.

Each rule is a question to the database and a fenced write, so a sweep that races a worker loses. One sweep runs at a
time; after a crash test has come to rest, `Findings` must be all zero.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import timedelta

import asyncpg

from safelight.db.statements import load
from safelight.domain.attempts import AttemptStatus
from safelight.domain.events import EventType
from safelight.domain.ids import ImageRowId, JobId
from safelight.engine import dispatch
from safelight.engine.journal import append_event, end_job_if_done, locked_job
from safelight.engine.settle import adopt_late_receipt, end_queued, insert_receipt
from safelight.engine.timing import Timing
from safelight.storage.staging import Staging

_SQL = load("sweep")
_SETTLE = load("settle")
_CONTROL = load("control")

_FORGET_WORKERS_SECONDS = 3600.0
_KEEP_QUEUE_LOG = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """How many of each were found and healed."""

    receipts: int = 0
    """Staged pictures that the database did not know of."""
    unknown: int = 0
    """Calls that can no longer answer, booked as unknown."""
    orphans: int = 0
    """Live images without a living owner and without a queue row."""
    lost_hints: int = 0
    """Admitted images without a queue row."""
    stopped: int = 0
    """Queued images that were asked to stop."""
    deadlines: int = 0
    """Jobs whose deadline had passed unsaid."""
    overdue: int = 0
    """Jobs whose run was over with images still open."""
    adopted: int = 0
    """Images that had ended without their paid picture."""
    unsettled: int = 0
    """Jobs whose images had all ended."""
    leftovers: int = 0
    """Staged files of attempts that need them no more."""

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


async def sweep(pool: asyncpg.Pool, queue: asyncpg.Pool, staging: Staging, *, timing: Timing) -> Findings | None:
    """Heals everything once; None when another process is sweeping.

    `queue` are connections for the dispatch tables. Rules run in an order in which each leaves work for the next:
    receipts before unknown outcomes, and the ends of jobs last.
    """
    async with queue.acquire() as guard:
        if not await guard.fetchval(_SQL.lock_sweep):
            return None
        try:
            return await _heal(pool, queue, staging, timing)
        finally:
            await guard.execute(_SQL.unlock_sweep)


async def _heal(pool: asyncpg.Pool, queue: asyncpg.Pool, staging: Staging, timing: Timing) -> Findings:
    receipts, leftovers = await _adopt_staged(pool, staging, timing)
    findings = Findings(
        receipts=receipts,
        leftovers=leftovers,
        unknown=len(await pool.fetch(_SQL.book_unknown)),
        orphans=await _requeue_orphans(pool, timing),
        lost_hints=await _readmit(pool, timing),
        stopped=await _end_stopped(pool),
        deadlines=await _pass_deadlines(pool),
        overdue=await _stop_overdue(pool),
        adopted=await _adopt_late(pool, queue, timing),
        unsettled=await _settle_jobs(pool),
    )
    await pool.execute(_SQL.forget_workers, _FORGET_WORKERS_SECONDS)
    await dispatch.prune_log(pool, older_than=_KEEP_QUEUE_LOG)
    return findings


async def _adopt_staged(pool: asyncpg.Pool, staging: Staging, timing: Timing) -> tuple[int, int]:
    """Receipts inserted for staged pictures, and staged files removed that no attempt needs."""
    inserted = removed = 0
    for receipt in await staging.pending():
        attempt = await pool.fetchrow(_SQL.attempt_of_receipt, receipt.attempt_id, timing.lease_seconds)
        if attempt is None or attempt["in_hand"]:
            continue  # without an attempt: the database was restored from before this purchase; kept for the operator
        if attempt["status"] in (AttemptStatus.SENT, AttemptStatus.UNKNOWN):
            if await insert_receipt(pool, receipt) is not None:
                inserted += 1
                await pool.fetchval(_SETTLE.hasten, attempt["image_row_id"])
        elif attempt["status"] != AttemptStatus.RECEIVED:
            await staging.discard(receipt.attempt_id)
            removed += 1
    return inserted, removed


async def _requeue_orphans(pool: asyncpg.Pool, timing: Timing) -> int:
    rows = await pool.fetch(_SQL.orphans, timing.lease_seconds)
    present = await dispatch.present(pool, [r["queue_row_id"] for r in rows if r["queue_row_id"] is not None])
    healed = 0
    for row in rows:
        if row["queue_row_id"] in present:
            continue
        async with locked_job(pool, row["job_id"]) as (conn, _job):
            done = await conn.fetchval(_SQL.requeue_orphan, row["row_id"], row["status"], row["claim_token"])
            healed += done is not None
    return healed


async def _readmit(pool: asyncpg.Pool, timing: Timing) -> int:
    rows = await pool.fetch(_SQL.admitted, timing.admission_seconds)
    present = await dispatch.present(pool, [r["queue_row_id"] for r in rows if r["queue_row_id"] is not None])
    healed = 0
    for row in rows:
        if row["queue_row_id"] not in present:
            healed += await pool.fetchval(_SQL.unadmit, row["row_id"], row["generation"]) is not None
    return healed


async def _end_stopped(pool: asyncpg.Pool) -> int:
    healed = 0
    for row in await pool.fetch(_SQL.stopped_in_queue):
        async with locked_job(pool, row["job_id"]) as (conn, _job):
            healed += await end_queued(conn, row["job_id"], row["row_id"], stop=row["stop"])
            await end_job_if_done(conn, row["job_id"])
    return healed


async def _pass_deadlines(pool: asyncpg.Pool) -> int:
    async def say(conn: asyncpg.Connection, job_id: JobId) -> bool:
        if await conn.fetchval(_SQL.pass_deadline, job_id) is None:
            return False
        await append_event(conn, job_id, EventType.JOB_DEADLINE_PASSED)
        return True

    return await _each_job(pool, _SQL.jobs_past_deadline, say)


async def _stop_overdue(pool: asyncpg.Pool) -> int:
    """Ends what waits; what has a call open winds down as in a cancel."""

    async def stop(conn: asyncpg.Connection, job_id: JobId) -> bool:
        for image in await conn.fetch(_CONTROL.lock_images, job_id):
            if image["status"] == "queued" and not image["has_open_attempt"]:
                await end_queued(conn, job_id, image["row_id"], stop="deadline")
            elif image["stop"] is None:
                await conn.execute(_CONTROL.ask_to_stop, image["row_id"], "deadline")
        await end_job_if_done(conn, job_id)
        return True

    return await _each_job(pool, _SQL.jobs_past_end, stop)


async def _adopt_late(pool: asyncpg.Pool, queue: asyncpg.Pool, timing: Timing) -> int:
    healed = 0
    for row in await pool.fetch(_SQL.late_receipts):
        adopted = await adopt_late_receipt(
            pool, row["job_id"], row["row_id"], run_limit_seconds=timing.run_limit_seconds
        )
        if adopted is None:
            continue
        row_id, generation = adopted
        async with queue.acquire() as conn, conn.transaction():
            hint = dispatch.Admitted(row_id=ImageRowId(row_id), generation=generation, provider=None)
            await dispatch.enqueue(conn, [hint])  # pyright: ignore[reportArgumentType]
        healed += 1
    return healed


async def _settle_jobs(pool: asyncpg.Pool) -> int:
    async def settle(conn: asyncpg.Connection, job_id: JobId) -> bool:
        return await end_job_if_done(conn, job_id) is not None

    return await _each_job(pool, _SQL.unsettled_jobs, settle)


async def _each_job(
    pool: asyncpg.Pool, question: str, heal: Callable[[asyncpg.Connection, JobId], Awaitable[bool]]
) -> int:
    healed = 0
    for row in await pool.fetch(question):
        async with locked_job(pool, row["id"]) as (conn, _job):
            healed += await heal(conn, row["id"])
    return healed
