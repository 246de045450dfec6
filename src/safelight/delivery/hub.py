"""What happens to jobs, as it happens: one question to the database for everybody who follows a job in this process.

    transactions ──> events ──(one question, again and again)──> EventHub ──> Following, Following, …
                        └────(read by job and seq: the backlog, and whatever a queue could not hold)──┘

The question finds what the moment before did not see, whatever order transactions end in, so its cost is that of what
is new: it depends neither on how many follow nor on how long a transaction stays open. Whoever begins to follow reads
the backlog from the database, and only after they have been registered; where backlog and news overlap, `seq` tells.
Whoever falls behind reads on from the database in the same way: nothing is ever missing, and no queue grows.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass

import asyncpg
import structlog

from safelight.db.pool import TRANSIENT
from safelight.db.statements import load
from safelight.delivery.envelope import Event
from safelight.delivery.pulse import Pulse
from safelight.domain.events import job_ended
from safelight.domain.lifecycle import TERMINAL_JOB_STATUSES

_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.004, 0.5
_PAUSE_PER_QUESTION = 3
"""A pause is at least so many times as long as the question before it took: following never fills the database."""
_QUIET_PAUSE_SECONDS, _PAUSE_GROWTH = 0.05, 1.1
"""While nothing happens, pauses grow to this, each by so much: an idle stream should cost next to nothing, and one
whose pictures come a few hundredths of a second apart should not wait for the end of a long pause each time."""
_MOST_NEWS = 1000
"""Events of one question. When there are more, everybody reads on from the database, job by job."""
_MOST_QUEUED = 256
_PAGE = 100
_READERS = 4
"""Pages that are read at a time, so that connections are left for requests."""

_SQL, _READ = load("feed"), load("read")
_RUN_ENDS = frozenset(job_ended(status).value for status in TERMINAL_JOB_STATUSES)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class News:
    """One thing to tell: an event of the log, or without a `seq` how far the job is. `frame` is what a stream sends."""

    seq: int | None
    ends_run: bool
    frame: bytes


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a snapshot of the database sees: transactions before `ends_at`, but for those that were `open` then."""

    ends_at: int
    open: Sequence[str]
    """As texts: an array of their own type makes asyncpg ask the server about it, on every new connection."""


class Following:
    """One reader of one job, who is told each event after `after` exactly once, in order."""

    __slots__ = ("_has_ended", "_is_behind", "_last", "_progress", "_queue", "_read", "_waiting", "wants_progress")

    def __init__(
        self, read: Callable[[int], Awaitable[Sequence[News]]], *, after: int, wants_progress: bool = False
    ) -> None:
        self.wants_progress = wants_progress
        self._read = read
        self._last = after
        self._queue: deque[News] = deque()
        self._is_behind = True
        self._progress: News | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._has_ended = False

    async def next(self) -> Sequence[News]:
        """What has come since the last time, at least one; nothing when it is over. May be cut off and asked again."""
        while not self._has_ended:
            while self._queue and _seq(self._queue[0]) <= self._last:
                self._queue.popleft()
            if self._queue and _seq(self._queue[0]) == self._last + 1:
                news = list(self._queue)
                self._queue.clear()
                self._last = _seq(news[-1])
                return news
            if self._queue or self._is_behind:
                if news := await self._read_on():
                    return news
            elif self._progress is not None:
                news, self._progress = [self._progress], None
                return news
            else:
                self._waiting = asyncio.get_running_loop().create_future()
                await self._waiting
        return ()

    def push(self, news: Sequence[News]) -> None:
        """These have happened, each the next one of the job. What does not fit is read from the database later."""
        if self._queue and _seq(news[0]) <= _seq(self._queue[-1]):
            news = [each for each in news if _seq(each) > _seq(self._queue[-1])]
        is_next = not self._queue or (bool(news) and _seq(news[0]) == _seq(self._queue[-1]) + 1)
        if is_next and len(self._queue) + len(news) <= _MOST_QUEUED:
            self._queue.extend(news)
        elif news:
            self._is_behind = True
        self._wake()

    def read_on(self) -> None:
        """There is more in the database than was pushed."""
        self._is_behind = True
        self._wake()

    def show(self, progress: News) -> None:
        """Takes the place of what was shown before and not fetched."""
        self._progress = progress
        self._wake()

    def end(self) -> None:
        """Nothing more comes, whatever happens."""
        self._has_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def _read_on(self) -> Sequence[News]:
        has_gap, self._is_behind = bool(self._queue), False
        try:
            news = await self._read(self._last)
        except BaseException:
            self._is_behind = True
            raise
        if _seq(news[0]) != self._last + 1 if news else has_gap:
            self.end()  # what comes next is not kept any more; whoever comes back is told so
            return ()
        if news:
            self._last = _seq(news[-1])
            self._is_behind |= len(news) == _PAGE
        return news


class EventHub:
    """Tells everybody who follows a job what happens to it, a few hundredths of a second after its commit.

    `encode` is called once for each event, however many follow its job. Asks nothing while nobody follows any. While
    the database does not answer everybody waits, and nobody misses anything. Once `closing` is set, every following
    ends.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        encode: Callable[[Event], bytes],
        closing: asyncio.Event,
        acquire_seconds: float,
    ) -> None:
        self._pool = pool
        self._encode = encode
        self._closing = closing
        self._acquire_seconds = acquire_seconds
        self._pulse = Pulse(pool, tell=self._show, acquire_seconds=acquire_seconds)
        self._readers = asyncio.Semaphore(_READERS)
        self._followings: defaultdict[str, set[Following]] = defaultdict(set)
        self._onlookers: set[asyncio.Future[None]] = set()
        self._audience = 0
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._seen: _Moment | None = None
        self._was_cut_off = False
        self._has_seen = asyncio.Event()

    @property
    def is_closing(self) -> bool:
        return self._closing.is_set()

    @contextmanager
    def follow(self, job_id: str, *, after: int, wants_progress: bool = False) -> Iterator[Following]:
        """From the event after `after` on, for as long as the block lasts."""

        async def read(after: int) -> Sequence[News]:
            return await self._page(job_id, after)

        following = Following(read, after=after, wants_progress=wants_progress)
        if self._closing.is_set():
            following.end()
        self._followings[job_id].add(following)
        try:
            with self._awake():
                yield following
        finally:
            self._followings[job_id].discard(following)
            if not self._followings[job_id]:
                del self._followings[job_id]

    async def anything(self) -> None:
        """Returns when something has happened to any job since, and when the service stops."""
        onlooker = asyncio.get_running_loop().create_future()
        self._onlookers.add(onlooker)
        try:
            with self._awake():
                if not self._closing.is_set():
                    await onlooker
        finally:
            self._onlookers.discard(onlooker)

    @contextmanager
    def _awake(self) -> Iterator[None]:
        self._audience += 1
        if self._audience == 1:
            work = (self._ask(), self._pulse.run(), self._end_with_the_service())
            # In a context of their own: what they log and do is not the first request's.
            self._tasks = tuple(asyncio.create_task(each, context=Context()) for each in work)
        try:
            yield
        finally:
            self._audience -= 1
            if self._audience == 0:
                for task in self._tasks:
                    task.cancel()
                self._seen = None
                self._has_seen.clear()

    async def _ask(self) -> None:
        clock = asyncio.get_running_loop().time
        quiet_seconds = _SHORTEST_PAUSE_SECONDS
        while True:
            asked_at = clock()
            try:
                has_happened = await self._look()
            except Exception as error:  # the loop that everybody who follows depends on
                log.warning("cannot look what has happened", error=type(error).__name__)
                self._was_cut_off = True
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
                continue
            quiet_seconds = (
                _SHORTEST_PAUSE_SECONDS if has_happened else min(quiet_seconds * _PAUSE_GROWTH, _QUIET_PAUSE_SECONDS)
            )
            await asyncio.sleep(
                min(max(quiet_seconds, _PAUSE_PER_QUESTION * (clock() - asked_at)), _LONGEST_PAUSE_SECONDS)
            )

    async def _look(self) -> bool:
        """Everybody has been told what this moment sees and the one before did not. Whether there was anything."""
        before = self._seen
        async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
            if before is None:
                self._seen = _moment(await conn.fetchval(_SQL.moment))
                self._has_seen.set()
                return True
            rows = await conn.fetch(_SQL.news, before.ends_at, before.open, _MOST_NEWS)
        now = _moment(rows[0]["snapshot"])
        if now.ends_at < before.ends_at:
            log.warning("the database is another one now; whoever follows a job has to begin again")
            for following in self._everybody():
                following.end()
        elif self._was_cut_off or len(rows) == _MOST_NEWS:
            # A server that crashed may give numbers a second time that it gave and did not write down: news with one
            # of those are not after the moment before.
            for following in self._everybody():
                following.read_on()
            self._pulse.touch(job_id for job_id in self._followings if self._is_watched(job_id))
        else:
            self._tell([row for row in rows if row["job_id"] is not None])
        self._seen, self._was_cut_off = now, False
        has_happened = rows[0]["job_id"] is not None
        if has_happened:
            self._tell_onlookers()
        return has_happened

    def _tell(self, rows: Iterable[asyncpg.Record]) -> None:
        by_job: defaultdict[str, list[asyncpg.Record]] = defaultdict(list)
        for row in rows:
            if row["job_id"] in self._followings:
                by_job[row["job_id"]].append(row)
        for job_id, of_job in by_job.items():
            news = [self._news(row) for row in sorted(of_job, key=lambda row: row["seq"])]
            for following in self._followings[job_id]:
                following.push(news)
        self._pulse.touch(job_id for job_id in by_job if self._is_watched(job_id))

    def _show(self, job_id: str, progress: bytes) -> None:
        news = News(None, ends_run=False, frame=progress)
        for following in self._followings.get(job_id, ()):
            if following.wants_progress:
                following.show(news)

    def _is_watched(self, job_id: str) -> bool:
        return any(following.wants_progress for following in self._followings[job_id])

    async def _page(self, job_id: str, after: int) -> Sequence[News]:
        """The next events of the log, once the news that follow them are being collected."""
        while True:
            await self._has_seen.wait()
            try:
                async with self._readers, self._pool.acquire(timeout=self._acquire_seconds) as conn:
                    rows = await conn.fetch(_READ.events_of_job, job_id, after, _PAGE)
            except TRANSIENT as error:
                log.debug("cannot read on", error=type(error).__name__)
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
            else:
                return [self._news(row) for row in rows]

    async def _end_with_the_service(self) -> None:
        await self._closing.wait()
        self._tell_onlookers()
        for following in self._everybody():
            following.end()

    def _tell_onlookers(self) -> None:
        for onlooker in self._onlookers:
            if not onlooker.done():
                onlooker.set_result(None)

    def _everybody(self) -> Iterator[Following]:
        for followings in self._followings.values():
            yield from followings

    def _news(self, row: asyncpg.Record) -> News:
        return News(row["seq"], row["type"] in _RUN_ENDS, self._encode(Event.of(dict(row))))


def _seq(news: News) -> int:
    assert news.seq is not None
    return news.seq


def _moment(snapshot: tuple[int, int, tuple[int, ...]]) -> _Moment:
    _, ends_at, still_open = snapshot
    return _Moment(ends_at, [str(xact) for xact in still_open])
