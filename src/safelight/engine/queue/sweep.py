"""The sweep heals what was lost: hints, owners, answers, ends. It re-queues; it never runs an image itself.

Each rule is a question to the database and a fenced write, so a sweep that races a worker loses. One sweep runs at a
time; after a crash test has come to rest, `Findings` must be all zero.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta

import asyncpg
import structlog

from safelight.db.pool import CONNECTION_LOST
from safelight.db.statements import load
from safelight.domain.attempts import AttemptStatus
from safelight.domain.events import EventType
from safelight.domain.ids import ImageRowId, JobId
from safelight.engine import gates
from safelight.engine.image.journal import append_event, end_job_if_done, locked_job, settle_children
from safelight.engine.image.provider_book import insert_receipt
from safelight.engine.image.settle import adopt_late_receipt, end_queued
from safelight.engine.queue import dispatch
from safelight.engine.queue.admission import forget_turns
from safelight.engine.timing import Timing
from safelight.engine.upkeep.retention import forget_events
from safelight.storage.staging import Receipt, Staging

_SQL = load("sweep")
_SETTLE = load("settle")
_CONTROL = load("control")
_FALLBACK = load("fallback")
_REFERENCES = load("references")
_CHARGE = load("charge")

log = structlog.get_logger(__name__)

_FORGET_WORKERS_SECONDS = 3600.0
_UNANSWERED = (AttemptStatus.SENT, AttemptStatus.SUBMITTED, AttemptStatus.UNKNOWN)
PATIENCE_WITH_LIMIT_SECONDS = 60.0
"""A provider that limits us for longer is left for the next one. Chosen."""
_KEEP_QUEUE_LOG = timedelta(days=1)
_STOPPED_LEASES = 4
"""For so many leases a process that stands still in the middle of a sweep keeps others from sweeping. Chosen."""


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
    unreleased: int = 0
    """Jobs with images that awaited pictures which had come, or never would."""
    adopted: int = 0
    """Images that had ended without their paid picture."""
    unsettled: int = 0
    """Jobs whose images had all ended."""
    released: int = 0
    """Holds that nothing awaits any more: of unknown outcome for too long, or left behind."""
    moved_on: int = 0
    """Waiting images whose provider's gate is shut and that have another provider to go to."""
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
        if not await guard.fetchval(_SQL.lock_sweep, int(_STOPPED_LEASES * timing.lease_seconds * 1000)):
            return None
        try:
            return await _heal(pool, queue, staging, timing)
        finally:
            with suppress(*CONNECTION_LOST):  # it took too long, and another one may sweep as well: that does no harm
                await guard.execute(_SQL.unlock_sweep)


async def _heal(pool: asyncpg.Pool, queue: asyncpg.Pool, staging: Staging, timing: Timing) -> Findings:
    """Every rule, each on its own: one that fails is logged and stops no other."""

    async def found(name: str, rule: Awaitable[object]) -> int:
        try:
            count = await rule
            return count if isinstance(count, int) else 0
        except Exception as error:  # a rule is a long-running loop's step: the next sweep tries it again
            log.warning("a rule of the sweep failed", rule=name, error=type(error).__name__)
            return 0

    staged: list[Receipt] = []

    async def look() -> int:
        staged.extend(await staging.pending())
        return len(staged)

    await found("staged", look())
    findings = Findings(
        receipts=await found("receipts", _adopt_staged(pool, staged, timing)),
        leftovers=await found("leftovers", _discard_staged(pool, staging, staged, timing)),
        unknown=await found("unknown", _book_unknown(pool)),
        orphans=await found("orphans", _requeue_orphans(pool, timing)),
        lost_hints=await found("lost_hints", _readmit(pool, timing)),
        stopped=await found("stopped", _end_stopped(pool)),
        deadlines=await found("deadlines", _pass_deadlines(pool)),
        overdue=await found("overdue", _stop_overdue(pool)),
        unreleased=await found("unreleased", _settle_children(pool)),
        adopted=await found("adopted", _adopt_late(pool, queue, timing)),
        unsettled=await found("unsettled", _settle_jobs(pool)),
        released=await found("released", _release_holds(pool, timing)),
        moved_on=await found("moved_on", _leave_shut_providers(pool)),
    )
    await found("old workers", pool.execute(_SQL.forget_workers, _FORGET_WORKERS_SECONDS))
    await found("old turns", forget_turns(pool))
    await found("old log of dispatch", dispatch.prune_log(pool, older_than=_KEEP_QUEUE_LOG))
    await found("old notices", gates.forget_notices(pool))
    await found("old events", forget_events(pool, older_than=timedelta(days=timing.event_retention_days)))
    return findings


async def _attempts_of(
    pool: asyncpg.Pool, receipts: list[Receipt], timing: Timing
) -> list[tuple[Receipt, asyncpg.Record]]:
    """Staged receipts with what is known of their attempts. One without an attempt is left to the operator: the
    database was restored from before its purchase."""
    ids = [receipt.attempt_id for receipt in receipts]
    rows = {row["id"]: row for row in await pool.fetch(_SQL.attempts_of_receipts, ids, timing.lease_seconds)}
    return [(receipt, rows[receipt.attempt_id]) for receipt in receipts if receipt.attempt_id in rows]


async def _adopt_staged(pool: asyncpg.Pool, staged: list[Receipt], timing: Timing) -> int:
    """Receipts inserted for staged pictures that nobody is about to report."""
    inserted = 0
    for receipt, attempt in await _attempts_of(pool, staged, timing):
        if attempt["in_hand"] or attempt["status"] not in _UNANSWERED:
            continue
        try:
            if await insert_receipt(pool, receipt) is not None:
                inserted += 1
                await pool.fetchval(_SETTLE.hasten, attempt["image_row_id"])
        except asyncpg.DataError as error:  # one receipt that cannot be stored hides no other
            log.error("a receipt cannot be stored", attempt_id=receipt.attempt_id, error=type(error).__name__)
    return inserted


async def _discard_staged(pool: asyncpg.Pool, staging: Staging, staged: list[Receipt], timing: Timing) -> int:
    """Staged files removed that no image will be made from any more."""
    removed = 0
    for receipt, attempt in await _attempts_of(pool, staged, timing):
        is_paid_fact = attempt["status"] in _UNANSWERED
        is_wanted = attempt["status"] == AttemptStatus.RECEIVED and attempt["is_needed"]
        if not attempt["in_hand"] and not is_paid_fact and not is_wanted:
            await staging.discard(receipt.attempt_id)
            removed += 1
    return removed


async def _book_unknown(pool: asyncpg.Pool) -> int:
    return len(await pool.fetch(_SQL.book_unknown))


async def _requeue_orphans(pool: asyncpg.Pool, timing: Timing) -> int:
    rows = await pool.fetch(_SQL.orphans, timing.lease_seconds)
    present = await dispatch.present(pool, [r["queue_row_id"] for r in rows if r["queue_row_id"] is not None])
    lost = [row for row in rows if row["queue_row_id"] not in present or row["is_long_dead"]]
    idle: list[int] = []

    async def requeue(conn: asyncpg.Connection, row: asyncpg.Record) -> bool:
        done = await conn.fetchval(_SQL.requeue_orphan, row["row_id"], row["status"], row["claim_token"])
        if done is not None and row["queue_row_id"] is not None:
            idle.append(row["queue_row_id"])
        return done is not None

    healed = await _each(pool, lost, requeue)
    await dispatch.drop(pool, idle)
    return healed


async def _readmit(pool: asyncpg.Pool, timing: Timing) -> int:
    rows = await pool.fetch(_SQL.admitted, timing.admission_seconds, 2 * timing.lease_seconds)
    present = await dispatch.present(pool, [r["queue_row_id"] for r in rows if r["queue_row_id"] is not None])
    healed = 0
    for row in rows:
        if row["queue_row_id"] in present and not row["is_stale"]:
            continue
        if await pool.fetchval(_SQL.unadmit, row["row_id"], row["generation"]) is not None:
            healed += 1
            await dispatch.drop(pool, [row["queue_row_id"]] if row["queue_row_id"] is not None else [])
    return healed


async def _end_stopped(pool: asyncpg.Pool) -> int:
    async def end(conn: asyncpg.Connection, row: asyncpg.Record) -> bool:
        has_ended = await end_queued(conn, row["job_id"], row["row_id"], stop=row["stop"])
        await end_job_if_done(conn, row["job_id"])
        return has_ended

    return await _each(pool, await pool.fetch(_SQL.stopped_in_queue), end)


async def _pass_deadlines(pool: asyncpg.Pool) -> int:
    async def say(conn: asyncpg.Connection, job_id: JobId) -> bool:
        policy = await conn.fetchval(_SQL.pass_deadline, job_id)
        if policy is None:
            return False
        if policy == "continue":
            await conn.execute(_SQL.drop_behind, job_id)
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
        adopted = None
        with suppress(asyncpg.LockNotAvailableError):  # as in `_each`
            adopted = await adopt_late_receipt(
                pool, row["job_id"], row["row_id"], run_limit_seconds=timing.run_limit_seconds
            )
        if adopted is None:
            continue
        row_id, generation = adopted
        async with queue.acquire() as conn, conn.transaction():
            hint = dispatch.Admitted(row_id=ImageRowId(row_id), generation=generation, provider=None)
            [queue_row_id] = await dispatch.enqueue(conn, [hint])  # pyright: ignore[reportArgumentType]
            await conn.execute(_SQL.note_hint_of_adopted, row_id, generation, queue_row_id)
        healed += 1
    return healed


async def _release_holds(pool: asyncpg.Pool, timing: Timing) -> int:
    """Gives back what is held for images of unknown outcome once their window has passed, and what any other way of
    ending has left."""
    window = timing.adoption_window_seconds

    async def resolve(conn: asyncpg.Connection, row: asyncpg.Record) -> bool:
        return bool(await conn.fetchval(_CHARGE.resolve_late_hold, row["image_row_id"], row["run"], window))

    return await _each(pool, await pool.fetch(_CHARGE.late_holds, window), resolve)


async def _leave_shut_providers(pool: asyncpg.Pool) -> int:
    waiting = await pool.fetch(_FALLBACK.waiting_at_shut_gates, PATIENCE_WITH_LIMIT_SECONDS)
    return len(await pool.fetch(_FALLBACK.leave_shut_gates, [row["row_id"] for row in waiting]))


async def _settle_children(pool: asyncpg.Pool) -> int:
    async def settle(conn: asyncpg.Connection, job_id: JobId) -> bool:
        moved = await settle_children(conn, job_id)
        await end_job_if_done(conn, job_id)
        return moved > 0

    return await _each_job(pool, _REFERENCES.unsettled_children, settle)


async def _settle_jobs(pool: asyncpg.Pool) -> int:
    async def settle(conn: asyncpg.Connection, job_id: JobId) -> bool:
        return await end_job_if_done(conn, job_id) is not None

    return await _each_job(pool, _SQL.unsettled_jobs, settle)


async def _each_job(
    pool: asyncpg.Pool, question: str, heal: Callable[[asyncpg.Connection, JobId], Awaitable[bool]]
) -> int:
    async def heal_row(conn: asyncpg.Connection, row: asyncpg.Record) -> bool:
        return await heal(conn, row["job_id"])

    return await _each(pool, await pool.fetch(question), heal_row)


async def _each(
    pool: asyncpg.Pool,
    rows: list[asyncpg.Record],
    heal: Callable[[asyncpg.Connection, asyncpg.Record], Awaitable[bool]],
) -> int:
    """How many were healed, each under its job's lock. A job that cannot be, or that somebody else holds for long, is
    left to the next sweep: its holder may stand still, and what is of other jobs does not wait for it."""
    healed, held = 0, set[JobId]()
    for row in rows:
        if row["job_id"] in held:
            continue
        try:
            async with locked_job(pool, row["job_id"]) as (conn, _job):
                done = await heal(conn, row)
        except asyncpg.LockNotAvailableError:
            held.add(row["job_id"])
        except CONNECTION_LOST:
            raise
        except Exception as error:  # one job's fault, as the others will show
            log.error("a job cannot be healed", job_id=row["job_id"], error=type(error).__name__)
            held.add(row["job_id"])
        else:
            healed += done
    return healed
