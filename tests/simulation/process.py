"""Simulated processes: they stop before every step that anybody else can see, and go on, fail or die as they are told.

What a process does is cut into errands: an image in hand, a sweep, a request of the API. Between two *points* an errand
is plain computation. At a point it is about to ask the database, the vendor, the storage or the renderer for something;
there it may be left standing for as long as one likes, lose its connection, or die. A transaction is one step: what is
rolled back was never seen.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from safelight.domain.ids import WorkerId
from safelight.engine.failpoints import Failpoints
from safelight.engine.queue.worker import Worker

T = TypeVar("T")

_IDLE_SPINS = 10
"""Passes of the loop in which nothing happens before everybody counts as waiting."""


class Crash(BaseException):
    """The process is dead: nothing that it does reaches anybody any more."""


class Trouble(StrEnum):
    """How an errand's steps end."""

    PAUSE = "pause"
    """It stands still until it is told to go on."""
    CRASH = "crash"
    """Its process dies, with everything else that it had in hand."""
    LOSE_QUESTION = "lose_question"
    """What it asks next never arrives; then it goes on."""
    LOSE_ANSWER = "lose_answer"
    """What it asks next is done, and it does not hear so; then it goes on."""
    NO_ROOM = "no_room"
    """Nothing can be staged or stored by it from here on."""


@dataclass(slots=True, kw_only=True)
class Plan:
    """What becomes of an errand: it takes `steps` (None: all) and then meets its trouble. The vendor answers its calls
    with `answers`, and then is silent."""

    steps: int | None = None
    trouble: Trouble = Trouble.PAUSE
    answers: list[Any] = field(default_factory=list)
    usual: Any = None
    """What the vendor answers when `answers` are used up; None: nothing."""


class Errand:
    """One thing that a process has in hand, as a task of its own."""

    def __init__(self, process: Process, name: str, plan: Plan) -> None:
        self.process = process
        self.name = name
        self.last_failpoint = ""
        self.task: asyncio.Task[Any] | None = None
        self._plan = plan
        self._halted: list[tuple[str, asyncio.Future[None], object]] = []
        self._under_way: Counter[object] = Counter()
        """What is asked of the real database, by task; one that stands at a point holds no more than a connection."""
        self._no_room = False

    @property
    def is_over(self) -> bool:
        return self.task is None or self.task.done()

    @property
    def where(self) -> str | None:
        """Where it stands; None while it goes, sleeps, or is over."""
        return self._halted[-1][0] if self._halted else None

    @property
    def is_quiet(self) -> bool:
        halted = {task for _, _, task in self._halted}
        return all(task in halted for task, count in self._under_way.items() if count)

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        self.process.errands.append(self)
        _turn.active = self
        self.task = asyncio.ensure_future(_told(self, work))

    def go_on(self, plan: Plan) -> None:
        self._plan = plan
        _turn.active = self
        for _, halted, _ in self._halted:
            if not halted.done():
                halted.set_result(None)

    def recover(self, process: Process) -> None:
        """It goes on in another process, without further trouble."""
        self.process = process
        self._plan = Plan(answers=self._plan.answers, usual=self._plan.usual)

    def stop(self) -> None:
        """It is dead; nothing of it is left after the next passes of the loop."""
        for _, halted, _ in self._halted:
            if not halted.done():
                halted.set_exception(Crash())
        if self.task is not None:
            self.task.cancel()

    async def point(self, where: str) -> Trouble | None:
        """Returns when the step may be taken, with what becomes of it. Raises Crash."""
        while True:
            if self.process.is_dead:
                raise Crash
            if _turn.active is not self:
                await self._halt(where)
                continue
            plan = self._plan
            if plan.steps is None:
                return Trouble.NO_ROOM if self._no_room else None
            if plan.steps > 0:
                plan.steps -= 1
                return Trouble.NO_ROOM if self._no_room else None
            if plan.trouble is Trouble.CRASH:
                self.process.deaths.append((self.last_failpoint, where))
                self.process.die()
                raise Crash
            if plan.trouble is not Trouble.PAUSE:
                plan.steps = None
                self.process.is_hurt = True
                if plan.trouble is Trouble.NO_ROOM:
                    self._no_room = True
                return plan.trouble
            await self._halt(where)

    async def answer(self, where: str) -> Any:
        """What the vendor answers. Waits for it as long as anybody waits."""
        await self.point(where)
        while not self._plan.answers:
            if self._plan.usual is not None:
                return self._plan.usual
            self._plan = Plan(steps=0)
            await self._halt(where)
            if self.process.is_dead:
                raise Crash
        return self._plan.answers.pop(0)

    async def under_way(self, work: Awaitable[T]) -> T:
        """Something real, which is waited for."""
        self.began()
        try:
            return await work
        finally:
            self.ended()

    def began(self) -> None:
        self._under_way[asyncio.current_task()] += 1

    def ended(self) -> None:
        self._under_way[asyncio.current_task()] -= 1

    async def _halt(self, where: str) -> None:
        halted = (where, asyncio.get_running_loop().create_future(), asyncio.current_task())
        self._halted.append(halted)
        try:
            await halted[1]
        finally:
            self._halted.remove(halted)


class _Turn:
    """Whose step it is: nobody else passes a point meanwhile, so that what has happened is known to be theirs."""

    active: Errand | None = None


_turn = _Turn()
_errand: ContextVar[Errand | None] = ContextVar("errand", default=None)


def errand() -> Errand | None:
    """In whose name the running task works; None for the simulation itself."""
    return _errand.get()


async def point(where: str) -> Trouble | None:
    mine = _errand.get()
    return await mine.point(where) if mine is not None else None


async def _told(mine: Errand, work: Coroutine[Any, Any, Any]) -> Any:
    _errand.set(mine)
    return await work


class Process:
    """Any number of errands that live and die together. `worker` is None for one that serves the API."""

    def __init__(self, name: str, deaths: list[tuple[str, str]], *, parent: Process | None = None) -> None:
        self.name = name
        self.errands: list[Errand] = []
        self.deaths = deaths
        """Where processes have died: the failpoint that they had passed last, and what they were about to do."""
        self.tokens: set[UUID] = parent.tokens if parent is not None else set()
        """Of every claim that it has made."""
        self.is_hurt = False
        """It has lost a connection, or its storage: that a step breaks off is no surprise."""
        self._parent = parent
        self._is_dead = False
        self.is_frozen = False
        self.worker: Worker | None = None
        self.worker_ids: list[WorkerId] = []

    @property
    def is_dead(self) -> bool:
        return self._is_dead or (self._parent is not None and self._parent.is_dead)

    def die(self) -> None:
        """At once, with everything in hand."""
        self._is_dead = True
        for each in self.errands:
            each.stop()

    @property
    def open_errands(self) -> list[Errand]:
        return [each for each in self.errands if not each.is_over]


class Trail(Failpoints):
    """Remembers for each errand which failpoint it has passed last."""

    def reach(self, name: str) -> None:
        mine = _errand.get()
        if mine is not None:
            mine.last_failpoint = str(name)


async def all_quiet(processes: list[Process]) -> None:
    """Every errand stands at a point, sleeps, or is over."""
    idle = 0
    while idle < _IDLE_SPINS:
        await asyncio.sleep(0)
        is_quiet = all(each.is_quiet for process in processes for each in process.errands)
        idle = idle + 1 if is_quiet else 0


class SteppedPool:
    """Connections of one simulated process: each transaction is a step, and so is each statement outside of one.

    What several errands of a process write together is a step of the one whose turn it is.
    """

    def __init__(self, pool: asyncpg.Pool, process: Process) -> None:
        self._pool = pool
        self._process = process

    def acquire(self, *, timeout: float | None = None) -> _Acquired:
        return _Acquired(self._pool, self._mine())

    async def fetch(self, *args: Any, **options: Any) -> Any:
        return await self._step(lambda: self._pool.fetch(*args, **options))

    async def fetchrow(self, *args: Any, **options: Any) -> Any:
        return await self._step(lambda: self._pool.fetchrow(*args, **options))

    async def fetchval(self, *args: Any, **options: Any) -> Any:
        return await self._step(lambda: self._pool.fetchval(*args, **options))

    async def execute(self, *args: Any, **options: Any) -> Any:
        return await self._step(lambda: self._pool.execute(*args, **options))

    async def _step(self, ask: Callable[[], Awaitable[T]]) -> T:
        mine = self._mine()
        trouble = await mine.point("database")
        if trouble is Trouble.LOSE_QUESTION:
            raise _lost()
        answer = await mine.under_way(ask())
        if trouble is Trouble.LOSE_ANSWER:
            raise _lost()
        return answer

    def _mine(self) -> Errand:
        mine = _errand.get()
        if mine is not None:
            return mine
        active = _turn.active
        if active is not None and active in self._process.errands:
            return active
        return self._process.errands[-1]


class _Acquired:
    """A connection for as long as it is needed. It is lost, if it is to be, before anything or after everything."""

    def __init__(self, pool: asyncpg.Pool, mine: Errand) -> None:
        self._acquired = pool.acquire()
        self._mine = mine
        self._trouble: Trouble | None = None

    async def __aenter__(self) -> Any:
        self._trouble = await self._mine.point("database")
        if self._trouble is Trouble.LOSE_QUESTION:
            raise _lost()
        self._mine.began()
        return await self._acquired.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            await self._acquired.__aexit__(kind, error, trace)
        finally:
            self._mine.ended()
        if error is None and self._trouble is Trouble.LOSE_ANSWER:
            raise _lost()


def _lost() -> Exception:
    return asyncpg.ConnectionDoesNotExistError("the connection is lost")
