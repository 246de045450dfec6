"""What breaks things: processes are killed or lie still for a while, PostgreSQL crashes, the store goes away."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from safelight.chaos.installation import Installation
from safelight.chaos.plan import Plan
from safelight.chaos.watch import Watch

_STALL_SECONDS = (2.0, 22.0)
"""Some are longer than a lease, so that the stopped one wakes up when others have its images."""
_AWAY_SECONDS = (1.0, 4.0)


@dataclass(slots=True, kw_only=True)
class Monkey:
    """`did` counts what it has done; `back_at` is when PostgreSQL answered again, and `log` says all of it in words."""

    plan: Plan
    installation: Installation
    watch: Watch
    did: Counter[str] = field(default_factory=Counter)
    back_at: list[datetime] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    _stopped: set[str] = field(default_factory=set)
    _following: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """It breaks things for as long as the block lasts, and puts back what it took at the end of it."""
        plan = self.plan
        tasks = [
            asyncio.create_task(self._again("kill", plan.kill_seconds, self._kill_worker)),
            asyncio.create_task(self._again("stall", plan.stall_seconds, self._stall_worker)),
            asyncio.create_task(self._again("kill-api", plan.kill_api_seconds, self._kill_api)),
            asyncio.create_task(self._again("store", plan.store_seconds, self._take_store)),
            asyncio.create_task(self._again("restart", plan.restart_seconds, self._restart)),
        ]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()  # raises what ended it
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def settled(self) -> None:
        """Returns when every image of a killed worker has been seen with another one, or given up on."""
        if self._following:
            await asyncio.wait(self._following)

    async def _again(
        self, purpose: str, between: tuple[float, float], act: Callable[[float, float], Awaitable[None]]
    ) -> None:
        dice = self.plan.dice(purpose)
        while True:
            await asyncio.sleep(self.plan.pause_seconds(between, dice))
            await act(dice.random(), dice.random())

    async def _kill_worker(self, which: float, _: float) -> None:
        # Whoever is stopped is not killed: both would then be one and the same.
        workers = [each for each in self.installation.workers if each.name not in self._stopped and each.pid]
        if not workers:
            return
        worker = workers[int(which * len(workers))]
        pid = worker.pid
        if pid is None or not worker.signal(signal.SIGKILL):
            return
        self._note("workers killed", f"{worker.name} ({pid})")
        following = asyncio.create_task(self._follow(worker.name, pid, killed_at=time.monotonic()))
        self._following.add(following)
        following.add_done_callback(self._following.discard)

    async def _follow(self, name: str, pid: int, *, killed_at: float) -> None:
        took = await self.watch.follow_dead(pid, killed_at=killed_at)
        after = f", after {min(took):.1f} to {max(took):.1f} s" if took else ""
        self.log.append(f"{_now()} {len(took)} images of {name} ({pid}) taken up again{after}")

    async def _stall_worker(self, which: float, long: float) -> None:
        worker = self.installation.workers[int(which * len(self.installation.workers))]
        seconds = _STALL_SECONDS[0] + long * (_STALL_SECONDS[1] - _STALL_SECONDS[0])
        if not worker.signal(signal.SIGSTOP):
            return
        self._stopped.add(worker.name)
        self._note("workers stopped for a while", f"{worker.name} for {seconds:.1f} s")
        try:
            await asyncio.sleep(seconds)
        finally:
            worker.signal(signal.SIGCONT)
            self._stopped.discard(worker.name)

    async def _kill_api(self, which: float, _: float) -> None:
        api = self.installation.apis[int(which * len(self.installation.apis))]
        if api.signal(signal.SIGKILL):
            self._note("APIs killed", api.name)

    async def _restart(self, _: float, __: float) -> None:
        self.watch.outages += 1
        restarting = asyncio.create_task(self.installation.restart_database())
        try:
            away_seconds = await asyncio.shield(restarting)
        except asyncio.CancelledError:
            await restarting  # what was begun is ended: nobody is left without a database
            raise
        finally:
            self.watch.outages += 1  # whoever was killed in between has met it too
        self.back_at.append(datetime.now(UTC))
        self._note("PostgreSQL restarts", f"away for {away_seconds:.2f} s")

    async def _take_store(self, _: float, long: float) -> None:
        """For a while nothing can be put or read: where the store's folder was there is a file."""
        seconds = _AWAY_SECONDS[0] + long * (_AWAY_SECONDS[1] - _AWAY_SECONDS[0])
        self.installation.take_store()
        self._note("times the store was away", f"for {seconds:.1f} s")
        try:
            await asyncio.sleep(seconds)
        finally:
            self.installation.give_store_back()

    def _note(self, what: str, words: str) -> None:
        self.did[what] += 1
        self.log.append(f"{_now()} {what}: {words}")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
