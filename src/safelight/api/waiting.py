"""Waiting for a job: one question to the database for everybody who waits, and none when nobody does.

The question is asked again and again rather than answered by NOTIFY: a transaction that notifies holds one lock of the
whole server until it is on disk, which halves how many events a second can be committed (1 340–1 460 against 530–810
with ten writers on two cores, PostgreSQL 18).
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from dataclasses import dataclass, field

import asyncpg
import structlog
from starlette.requests import Request

from safelight.db.statements import load
from safelight.domain.lifecycle import TERMINAL_JOB_STATUSES

MAX_WAIT_SECONDS = 60
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 0.5
_PAUSE_PER_QUESTION = 10
"""A pause is at least so many times as long as the question before it took: waiting never fills the database."""

_SQL = load("read")
_PREFERENCE = re.compile(r'\s*wait\s*=\s*(?:"([0-9]{1,9})"|([0-9]{1,9}))\s*(?:;.*)?', re.IGNORECASE)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    after: int | None
    woken: asyncio.Event = field(default_factory=asyncio.Event)


class JobWatch:
    """Wakes requests that wait for a job, within half a second of what they wait for.

    At most `most` of them wait at a time. A database that does not answer only makes them wait longer.
    """

    def __init__(self, pool: asyncpg.Pool, *, closing: asyncio.Event, acquire_seconds: float, most: int) -> None:
        self._pool = pool
        self._closing = closing
        self._acquire_seconds = acquire_seconds
        self._most = most
        self._count = 0
        self._waiters: defaultdict[str, set[_Waiter]] = defaultdict(set)
        self._asking: asyncio.Task[None] | None = None

    async def wait(self, request: Request, job_id: str, *, seconds: float, after: int | None = None) -> bool:
        """Returns when the job has ended, has an event later than `after`, or the time is over; also when the caller
        has gone or the service stops. False, at once, when too many wait already.

        The request's body must have been read, or be empty.
        """
        if self._count >= self._most or self._closing.is_set():
            return False
        self._count += 1
        waiter = _Waiter(after)
        self._waiters[job_id].add(waiter)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        ends = [asyncio.create_task(each) for each in (waiter.woken.wait(), self._closing.wait(), _gone(request))]
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ends:
                each.cancel()
            self._count -= 1
            self._waiters[job_id].discard(waiter)
            if not self._waiters[job_id]:
                del self._waiters[job_id]
            if self._count == 0 and self._asking is not None:
                self._asking.cancel()
                self._asking = None
        return True

    async def _ask(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            asked_at = clock()
            try:
                rows = await self._look()
            except Exception as error:  # the loop that everybody who waits depends on
                log.warning("cannot look whether jobs have moved", error=type(error).__name__)
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
                continue
            for row in rows:
                has_ended = row["status"] in TERMINAL_JOB_STATUSES
                for waiter in self._waiters.get(row["id"], ()):
                    if has_ended or (waiter.after is not None and row["seq"] > waiter.after):
                        waiter.woken.set()
            pause = _PAUSE_PER_QUESTION * (clock() - asked_at)
            await asyncio.sleep(min(max(pause, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS))

    async def _look(self) -> list[asyncpg.Record]:
        async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
            return await conn.fetch(_SQL.positions_of_jobs, list(self._waiters))


def preferred_wait(request: Request) -> int | None:
    """The seconds that `Prefer: wait=…` asks for, at most 60; None where it asks for none.

    As RFC 7240 has it: the first one counts, and one that cannot be read is ignored.
    """
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        if match := _PREFERENCE.fullmatch(preference):
            return min(int(match[1] or match[2]), MAX_WAIT_SECONDS)
    return None


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
