"""Group commit: writes that come while an earlier one of their kind is under way go together in the next.

A write that comes alone goes alone and at once. The busier a process is, the more writes share what one of them costs:
a transaction with its lock, a sync of the disk.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

_IN_A_ROW = 8
"""How many items tell how fast they come. Chosen: a few pictures that come at one moment are no stream."""

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Together(Generic[Key, Item, Answer]):
    """Calls `write(key, items)` for one write of each key at a time, with at most `most` items, and gives everybody the
    answer to their own item; `write` answers in the order of the items.

    One of `shared` goes to all of them: whether anything was written, nobody knows. When any other exception breaks a
    write of several, which must have left nothing then, each is written by itself, so that nobody fails for another.

    While items come faster than `busy_per_second`, a write waits `linger_seconds` for company before it begins.
    """

    def __init__(
        self,
        write: Callable[[Key, Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        most: int,
        shared: tuple[type[Exception], ...],
        linger_seconds: float = 0.0,
        busy_per_second: float = math.inf,
    ) -> None:
        self._write = write
        self._most = most
        self._shared = shared
        self._linger_seconds = linger_seconds
        self._busy_seconds = _IN_A_ROW / busy_per_second
        self._came_at = deque([-math.inf] * (_IN_A_ROW + 1), maxlen=_IN_A_ROW + 1)
        self._waiting: dict[Key, list[tuple[Item, asyncio.Future[Answer]]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, key: Key, item: Item) -> Answer:
        """Raises what the write of this item raised."""
        loop = asyncio.get_running_loop()
        self._came_at.append(loop.time())
        answer: asyncio.Future[Answer] = loop.create_future()
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append((item, answer))
        else:
            self._waiting[key] = [(item, answer)]
            # What an image's log lines and spans are marked with belongs to that image, not to all that are written.
            task = asyncio.create_task(self._write_all(key), context=Context())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return await answer

    async def _write_all(self, key: Key) -> None:
        is_busy = self._came_at[-1] - self._came_at[0] < self._busy_seconds
        try:
            if is_busy:
                await asyncio.sleep(self._linger_seconds)
            while group := self._waiting[key][: self._most]:
                del self._waiting[key][: self._most]
                await self._write_group(key, group)
        finally:  # of one that was broken off, nobody waits for an answer that will not come
            for _, future in self._waiting.pop(key):
                future.cancel()

    async def _write_group(self, key: Key, group: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._write(key, [item for item, _ in group])
        except Exception as error:  # it is the callers': each gets it, or the one that is about their own item
            if len(group) == 1 or isinstance(error, self._shared):
                for _, future in group:
                    _give(future, error)
                return
            for alone in group:
                await self._write_group(key, [alone])
            return
        except BaseException:
            for _, future in group:
                future.cancel()
            raise
        for (_, future), answer in zip(group, answers, strict=True):
            if not future.done():
                future.set_result(answer)


def _give(future: asyncio.Future[Answer], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
