"""Erasure: a job's pictures and texts go for good, its row and the books stay.

    marked ──(texts went with the mark; nothing is served from here on)──> blobs deleted ──> cleared

The mark is committed first, so whatever breaks off after it is finished by whoever finds a mark without its end. A
picture that was bought for the job and comes later is not used: the sweep discards it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

import asyncpg
import structlog

from safelight.db.statements import load
from safelight.domain.errors import Conflict, NotFound
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import TERMINAL_JOB_STATUSES
from safelight.engine.image.journal import locked_job
from safelight.storage.blob_store import BlobStore

_SQL, _CONTROL = load("erasure"), load("control")
_BATCH = 50
_MOST_PUT_OFF = 10_000
"""Jobs that cannot be cleared now, as one process remembers them. Chosen."""
_AT_ONCE = 8
"""Blobs of a job that are deleted at a time. Chosen."""
_RETENTION_SECONDS = 600.0
"""Between two looks for what is past its time, which is in days. Chosen."""

log = structlog.get_logger(__name__)


class ErasurePoint(StrEnum):
    """Where a test can stop the process, besides the engine's points."""

    ERASURE_MARKED = "erasure_marked"
    """The mark is committed; every blob is still there."""
    ERASURE_DELETED = "erasure_deleted"
    """The blobs are deleted; nobody has said so."""


Reach = Callable[[ErasurePoint], None]


def _pass_by(_point: ErasurePoint) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """For how long after its end a job is kept, and its prompts. None: for ever."""

    jobs: timedelta | None = None
    prompts: timedelta | None = None


async def remove(pool: asyncpg.Pool, job_id: JobId, *, account: str | None) -> None:
    """From now on nothing of the job is served, and its texts are gone; what is stored is left to `clear`.

    A job that was removed already stays so. `account` is whose job it has to be; None: anybody's. Raises NotFound, and
    Conflict (`job-not-ended`) while it lives.
    """
    if await pool.fetchval(_CONTROL.job_exists, job_id, account) is None:  # nobody holds up another account's job
        raise NotFound("There is no such job.")
    try:
        async with locked_job(pool, job_id) as (conn, job):
            row = await conn.fetchrow(_SQL.job_to_remove, job_id)
            assert row is not None, "it is locked"
            if row["is_removed"]:
                return
            if job.status not in TERMINAL_JOB_STATUSES:
                raise Conflict("The job has not ended.", slug="job-not-ended")
            await _mark(conn, job_id)
    except LookupError:
        raise NotFound("There is no such job.") from None
    log.info("job removed", job_id=job_id, by="caller")


async def clear(pool: asyncpg.Pool, blobs: BlobStore, job_id: JobId, *, reach: Reach = _pass_by) -> None:
    """Everything that is stored of a removed job is deleted, and that is noted. May be done twice, and by several at
    once.

    Raises OSError when the store fails; then it is still to be done.
    """
    keys = [row["key"] for row in await pool.fetch(_SQL.stored_of, job_id)]
    for n in range(0, len(keys), _AT_ONCE):
        deleting = (blobs.delete(key) for key in keys[n : n + _AT_ONCE])
        for outcome in await asyncio.gather(*deleting, return_exceptions=True):
            if outcome is not None:
                raise outcome
    reach(ErasurePoint.ERASURE_DELETED)
    try:
        async with locked_job(pool, job_id) as (conn, _job):
            await conn.execute(_SQL.mark_cleared, job_id)
    except LookupError:
        return


async def clear_removed(
    pool: asyncpg.Pool,
    blobs: BlobStore,
    *,
    put_off: set[JobId] | None = None,
    stopping: asyncio.Event | None = None,
    reach: Reach = _pass_by,
) -> int:
    """How many removed jobs were cleared of what was still stored; one that cannot be now hides no other. None is begun
    once `stopping` is set.

    Those that could not be are added to `put_off`, and the next look with it passes them over: until there are no
    others, or too many of them. Then all are tried again.
    """
    put_off = set() if put_off is None else put_off
    cleared = 0
    rows = await pool.fetch(_SQL.jobs_to_clear, _BATCH, list(put_off))
    if len(rows) < _BATCH or len(put_off) >= _MOST_PUT_OFF:
        put_off.clear()
    for row in rows:
        if stopping is not None and stopping.is_set():
            break
        reach(ErasurePoint.ERASURE_MARKED)
        try:
            await clear(pool, blobs, row["id"], reach=reach)
            cleared += 1
        except (OSError, asyncpg.LockNotAvailableError) as error:
            put_off.add(row["id"])
            log.warning("a removed job is still stored", job_id=row["id"], error=type(error).__name__)
    return cleared


async def let_go(pool: asyncpg.Pool, keeping: Keeping) -> int:
    """How many jobs were removed, or lost their prompts, because they were kept for as long as was agreed."""
    done = 0
    if keeping.jobs is not None:
        done += await _each(pool, _SQL.jobs_past_keeping, keeping.jobs, _mark, "job removed")
    if keeping.prompts is not None:
        done += await _each(pool, _SQL.jobs_past_remembering, keeping.prompts, _forget_prompts, "prompts removed")
    return done


class Eraser:
    """Runs beside a worker's images: finishes what was begun anywhere, and lets go what is past its time."""

    def __init__(
        self, pool: asyncpg.Pool, blobs: BlobStore, *, keeping: Keeping, every_seconds: float, reach: Reach = _pass_by
    ) -> None:
        self._pool = pool
        self._blobs = blobs
        self._keeping = keeping
        self._every_seconds = every_seconds
        self._reach = reach
        self._put_off: set[JobId] = set()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until `stop`, and then until the job in hand is done. Survives any loss of the database and the store."""
        clock = asyncio.get_running_loop().time
        look_again_at = clock()
        while not self._stopping.is_set():
            try:
                if clock() >= look_again_at and not await let_go(self._pool, self._keeping):
                    look_again_at = clock() + _RETENTION_SECONDS
                await clear_removed(
                    self._pool, self._blobs, put_off=self._put_off, stopping=self._stopping, reach=self._reach
                )
            except Exception as error:  # the next look makes up for it, whatever it was
                log.warning("cannot erase", error=type(error).__name__)
            try:
                await asyncio.wait_for(self._stopping.wait(), self._every_seconds)
            except TimeoutError:
                continue


async def _each(
    pool: asyncpg.Pool, question: str, kept: timedelta, go: Callable[[Any, JobId], Awaitable[bool]], what: str
) -> int:
    done = 0
    rows: Sequence[Any] = await pool.fetch(question, kept, _BATCH)
    for row in rows:
        try:
            async with locked_job(pool, row["id"]) as (conn, _job):
                gone = await go(conn, row["id"])
        except asyncpg.LockNotAvailableError:
            continue  # in use: next time
        if gone:
            done += 1
            log.info(what, job_id=row["id"], by="retention")
    return done


async def _mark(conn: asyncpg.Connection, job_id: JobId) -> bool:
    """False when a locked job was removed, or opened again, meanwhile."""
    await _forget_prompts(conn, job_id)
    if await conn.fetchval(_SQL.mark_removed, job_id) is None:
        return False
    await conn.execute(_SQL.remove_words_of_references, job_id)
    await conn.execute(_SQL.forget_remote_jobs, job_id)
    return True


async def _forget_prompts(conn: asyncpg.Connection, job_id: JobId) -> bool:
    if await conn.fetchval(_SQL.mark_prompts_removed, job_id) is None:
        return False
    await conn.execute(_SQL.remove_prompts, job_id)
    await conn.execute(_SQL.remove_messages, job_id)
    await conn.execute(_SQL.remove_replies, job_id)
    return True
