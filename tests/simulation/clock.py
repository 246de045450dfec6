"""Time that moves only when it is told to: that of this process, and that of the database with it."""

from __future__ import annotations

import asyncio
import heapq
import time

import asyncpg
import pytest

NOON = "2031-03-05 12:00:00+00"
"""When every simulation begins, so that midnight is equally far in each."""

_STOPPED = f"""
    CREATE OR REPLACE FUNCTION safelight.now() RETURNS timestamptz LANGUAGE sql STABLE
    RETURN timestamptz '{NOON}' + (SELECT clock_shift FROM installation)
"""


async def stop_database_clock(conn: asyncpg.Connection) -> None:
    """The database's `safelight.now()` is noon, plus what `installation.clock_shift` says."""
    await conn.execute(_STOPPED)


class StoppedLoop(asyncio.SelectorEventLoop):
    """An event loop on a clock of its own, which is also this process's `time.monotonic()` once it is installed."""

    def __init__(self) -> None:
        self._now = time.monotonic()
        self._due: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        super().__init__()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(time, "monotonic", self.time)

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """What was waiting for a moment up to then goes on when the loop runs next."""
        self._now += seconds

    def next_timer_seconds(self) -> float | None:
        """How long until something that waits goes on by itself; None when nothing waits for a moment."""
        while self._due and (self._due[0][2].cancelled() or self._due[0][0] < self._now):
            heapq.heappop(self._due)
        return self._due[0][0] - self._now if self._due else None

    def call_at(self, when, callback, *args, context=None):
        handle = super().call_at(when, callback, *args, context=context)
        self._count += 1
        heapq.heappush(self._due, (when, self._count, handle))
        return handle
