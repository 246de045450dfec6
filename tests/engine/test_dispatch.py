"""An intake that breaks is followed by a fresh one at once, and nobody leaves before what was handed out has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest

from safelight.domain.ids import ImageRowId
from safelight.engine.image.lease import Hint
from safelight.engine.queue.dispatch import FINISH, Admitted, Dispatcher, enqueue, notify_stop
from tests.crash.proxy import proxy_to


@dataclass
class Bench:
    """Where hints are handled: each for as long as a test wants."""

    begun: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int = 0

    async def handle(self, hint: Hint) -> None:
        self.begun.put_nowait(hint.row_id)
        await self.let_go.wait()
        self.ended += 1

    async def next_begun(self) -> int:
        async with asyncio.timeout(10):
            return await self.begun.get()


async def _nothing(_hint: Hint) -> None:
    return None


@asynccontextmanager
async def dispatching(
    dsn: str, bench: Bench, *, stop_noticed: Callable[[Hint], Awaitable[None]] = _nothing
) -> AsyncIterator[tuple[Dispatcher, asyncio.Task[None]]]:
    dispatcher = Dispatcher(
        dsn,
        {FINISH: bench.handle},
        slots=4,
        lease_seconds=15.0,
        dequeue_seconds=0.2,
        application_name="tests dispatch",
        stop_noticed=stop_noticed,
    )
    running = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher, running
    finally:
        bench.let_go.set()
        dispatcher.stop()
        async with asyncio.timeout(20):
            await running


async def hand_out(queue: asyncpg.Pool, row_id: int) -> int:
    async with queue.acquire() as conn:
        hint = Admitted(row_id=ImageRowId(row_id), generation=1, provider=None)
        [queue_row_id] = await enqueue(conn, [hint])  # pyright: ignore[reportArgumentType]
    return queue_row_id


@pytest.mark.parametrize("said", [b"AS queued_work", b"SELECT pg_notify("])
async def test_an_intake_that_breaks_in_a_question_takes_no_slot_along(
    said: bytes, database: str, queue: asyncpg.Pool
) -> None:
    """While a call takes minutes, what is handed out next begins at once and not when that call has ended."""
    bench = Bench()
    await hand_out(queue, 1)
    async with proxy_to(database) as proxy:
        proxy.cut_at = said
        async with dispatching(proxy.dsn, bench):
            assert await bench.next_begun() == 1
            await proxy.has_cut.wait()
            await hand_out(queue, 2)
            assert await bench.next_begun() == 2
            assert bench.ended == 0


async def test_a_look_at_what_is_to_stop_that_fails_leaves_nothing_behind_that_nobody_waits_for(
    database: str, queue: asyncpg.Pool
) -> None:
    bench, noticed = Bench(), asyncio.Event()

    async def fail(_hint: Hint) -> None:
        noticed.set()
        raise ConnectionResetError

    queue_row_id = await hand_out(queue, 1)
    async with dispatching(database, bench, stop_noticed=fail) as (dispatcher, running):
        assert await bench.next_begun() == 1
        async with asyncio.timeout(10):
            await notify_stop(queue, [queue_row_id])
            await noticed.wait()
        dispatcher.stop()
        await asyncio.wait((running,), timeout=1)
        assert not running.done(), "its handler is at work"
    assert bench.ended == 1
