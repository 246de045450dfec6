"""A job as it develops: looked at when its stream says that something happened, and now and then anyway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from safelight.client.errors import ApiProblem, NoStream
from safelight.client.views import Event, JobView
from safelight.domain.errors import SafelightError

_SHORTEST_LOOK_SECONDS = 0.1
"""Between two looks while events pour in: several of them are seen at once."""
_LIVE_LOOK_SECONDS = 5.0
"""Between two looks while the stream is silent: images move without events now and then, and lines die silently."""
_LISTEN_AGAIN_SECONDS = 30.0

Look = Callable[[], Awaitable[JobView | None]]
"""The job as it stands; None while it is as it was at the last look."""
Listen = Callable[[int | None], AsyncIterator[Event]]
"""The job's events after one of them."""


async def watch_job(look: Look, listen: Listen, *, interval_seconds: float) -> AsyncIterator[JobView]:
    """The job as it is, then again after each change; the last one has ended.

    Without a stream, and until it has told something, the job is looked at every `interval_seconds`.
    """
    ear = _Ear(listen)
    seen: JobView | None = None
    try:
        while True:
            job = await look()
            if job is not None and job != seen:
                seen = job
                yield job
            if seen is not None and seen.has_ended:
                return
            ear.open(_seq_of(seen))
            await ear.wait(interval_seconds)
    finally:
        await ear.close()


class _Ear:
    """Listens in the background, as far as there is something to listen to."""

    def __init__(self, listen: Listen) -> None:
        self._listen = listen
        self._news = asyncio.Event()
        self._is_live = False
        self._is_useless = False
        self._task: asyncio.Task[None] | None = None
        self._opens_at = 0.0

    def open(self, after: int | None) -> None:
        """Listening, unless there was no stream, or one that ended a moment ago. Raises what it did not expect."""
        if self._task is not None and self._task.done():
            self._task.result()
            self._task = None
        now = asyncio.get_running_loop().time()
        if self._task is None and not self._is_useless and now >= self._opens_at:
            self._opens_at = now + _LISTEN_AGAIN_SECONDS
            self._task = asyncio.create_task(self._hear(after))

    async def wait(self, interval_seconds: float) -> None:
        """Returns when there is news, or it is time to look in any case."""
        if self._is_live:
            await asyncio.sleep(_SHORTEST_LOOK_SECONDS)
            interval_seconds = _LIVE_LOOK_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(interval_seconds):
                await self._news.wait()
        self._news.clear()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _hear(self, after: int | None) -> None:
        try:
            async for _ in self._listen(after):
                self._is_live = True
                self._news.set()
        except NoStream:
            self._is_useless = True
        except ApiProblem as problem:
            self._is_useless = not problem.is_retryable
        except SafelightError:
            pass  # whether the service is gone is seen by looking
        finally:
            self._is_live = False
            self._news.set()


def _seq_of(job: JobView | None) -> int | None:
    seq: Any = job.document.get("seq") if job is not None else None
    return seq if isinstance(seq, int) else None
