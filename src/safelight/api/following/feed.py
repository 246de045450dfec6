"""The log as it is read back: of one job by seq, of an account in one order that skips nothing.

A position in the account's feed is where its transaction stands, and there the job and the seq. Transactions end in
another order than they begin, so a page goes no further than the oldest that is still open anywhere on the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog

from safelight.api import schemas
from safelight.api.cursor import FeedPosition, feed_cursor, feed_position, numbered_anew
from safelight.api.dependencies import ApiDependencies
from safelight.db.statements import load
from safelight.delivery.envelope import Event, envelope
from safelight.delivery.hub import EventHub
from safelight.delivery.links import Links
from safelight.domain.errors import NotFound
from safelight.domain.ids import is_job_id
from safelight.domain.lifecycle import TERMINAL_JOB_STATUSES

_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 1.0
_PAUSE_PER_QUESTION = 3
"""A pause is at least so many times as long as the question before it took, but for one that took very long."""
_MOST_WOKEN = 50
"""By one question: each of them reads a page at once, and requests need connections too. Others are next."""

_SQL, _READ = load("feed"), load("read")
_BEGINNING = FeedPosition(xact=0, job_id="", seq=0)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEnd:
    """How far a job's log goes, and whether the job has ended there. Events before `oldest_seq` are not kept any more;
    None: none is."""

    job_id: str
    seq: int
    has_ended: bool
    oldest_seq: int | None = None

    def why_not_after(self, seq: int) -> str | None:
        """Why the events after this one cannot all be told; None: they can."""
        if seq > self.seq:
            return "unknown"
        return "expired" if seq + 1 < (self.oldest_seq or self.seq + 1) else None


class EventReader:
    """Reads events of one account at a time; of a job, without one, whoever's it is. A job of another account raises
    NotFound."""

    def __init__(self, deps: ApiDependencies, links: Links) -> None:
        self._pool = deps.pool
        self._acquire_seconds = deps.acquire_seconds
        self._links = links

    async def log_end(self, job_id: str, *, account: str | None) -> LogEnd:
        async with self._snapshot() as conn:
            return await _log_end(conn, job_id, account)

    async def of_job(self, job_id: str, *, account: str | None, after: int, limit: int) -> schemas.EventPage:
        async with self._snapshot() as conn:
            await _log_end(conn, job_id, account)
            rows = await conn.fetch(_READ.events_of_job, job_id, after, limit)
        return schemas.EventPage(
            events=[schemas.Event(**envelope(Event.of(row), self._links)) for row in rows],
            next_after=rows[-1]["seq"] if rows else after,
        )

    async def of_account(self, account: str, *, after: str | None, limit: int) -> tuple[schemas.FeedPage, FeedPosition]:
        """A page, and where it ends. Raises SafelightError (`invalid-cursor`)."""
        async with self._snapshot() as conn:
            numbering = await conn.fetchrow(_SQL.numbering)
            name = numbering["name"]
            position = _BEGINNING
            if after is not None:
                position = feed_position(after, account=account, numbering=name)
                if position.xact >= numbering["ends_at"]:
                    raise numbered_anew()
            wanted = (account, position.xact, position.job_id, position.seq, limit)
            rows = await conn.fetch(_SQL.events_of_account, *wanted)
        if rows:
            position = FeedPosition(xact=rows[-1]["xact"], job_id=rows[-1]["job_id"], seq=rows[-1]["seq"])
        cursor = feed_cursor(position, account=account, numbering=name)
        return schemas.FeedPage(events=[self._shown(row) for row in rows], next_cursor=cursor), position

    def _shown(self, row: Mapping[str, Any]) -> schemas.Event:
        if row["job_id"]:
            return schemas.Event(**envelope(Event.of(row), self._links))
        return schemas.Event(type=row["type"], timestamp=row["created_at"], data=row["data"])

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Any]:
        """A connection whose statements all see the same moment."""
        async with (
            self._pool.acquire(timeout=self._acquire_seconds) as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield conn


class FeedWatch:
    """Tells whoever has read a feed to its end that it goes on: one question for all who wait in this process.

    It is asked when anything has happened anywhere, and at least every second, since an event may be there that an
    older transaction still holds back. Nothing is asked while nobody waits.
    """

    def __init__(self, deps: ApiDependencies, hub: EventHub) -> None:
        self._pool = deps.pool
        self._acquire_seconds = deps.acquire_seconds
        self._hub = hub
        self._waiting: dict[asyncio.Future[None], tuple[str, FeedPosition]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def more(self, account: str, *, after: FeedPosition) -> None:
        """Returns when something comes after that position, and when the service stops."""
        going_on = asyncio.get_running_loop().create_future()
        self._waiting[going_on] = (account, after)
        if self._asking is None:
            # In a context of its own: what it logs is not the first request's.
            self._asking = asyncio.create_task(self._ask(), context=Context())
        try:
            await going_on
        finally:
            del self._waiting[going_on]
            if not self._waiting:
                self._asking.cancel()
                self._asking = None

    async def _ask(self) -> None:
        clock = asyncio.get_running_loop().time
        while not self._hub.is_closing:
            asked_at = clock()
            try:
                await self._look()
            except Exception as error:  # the loop that everybody who waits for a feed depends on
                log.warning("cannot look whether feeds go on", error=type(error).__name__)
            took_seconds = clock() - asked_at
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_PAUSE_SECONDS):
                    await self._hub.anything()
            if not self._hub.is_closing:
                pause_seconds = max(_SHORTEST_PAUSE_SECONDS, _PAUSE_PER_QUESTION * took_seconds)
                await asyncio.sleep(min(pause_seconds, _LONGEST_PAUSE_SECONDS))
        self._wake(self._waiting)

    async def _look(self) -> None:
        waiting = dict(self._waiting)
        places = [place for _, place in waiting.values()]
        async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
            rows = await conn.fetch(
                _SQL.feeds_that_go_on,
                [account for account, _ in waiting.values()],
                [str(place.xact) for place in places],
                [place.job_id for place in places],
                [place.seq for place in places],
                _MOST_WOKEN,
            )
        readers = [*waiting]
        self._wake(readers[row["nth"] - 1] for row in rows)

    def _wake(self, readers: Iterable[asyncio.Future[None]]) -> None:
        for reader in readers:
            if not reader.done():
                reader.set_result(None)


async def _log_end(conn: asyncpg.Connection, job_id: str, account: str | None) -> LogEnd:
    row = await conn.fetchrow(_SQL.position_of_job, job_id, account) if is_job_id(job_id) else None
    if row is None:
        raise NotFound("There is no such job.")
    has_ended = row["status"] in TERMINAL_JOB_STATUSES
    return LogEnd(job_id=job_id, seq=row["seq"], has_ended=has_ended, oldest_seq=row["oldest_seq"])
