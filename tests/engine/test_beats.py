"""A worker beats for as long as it lives and reaches the database, whatever its images wait for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta

import asyncpg

from safelight.engine.queue.worker import Worker
from safelight.settings import Settings
from tests.orders import until

Start = Callable[[], AbstractAsyncContextManager[Worker]]

_NEXT_BEAT = "SELECT heartbeat_at FROM workers WHERE heartbeat_at > $1"


async def test_a_worker_whose_connections_are_all_busy_is_not_taken_for_dead(
    pool: asyncpg.Pool, settings: Settings, start_worker: Start
) -> None:
    lease = timedelta(seconds=settings.lease_seconds)
    async with start_worker() as worker, AsyncExitStack() as busy:
        await until(pool, "SELECT count(*) = 1 FROM workers")
        own = worker._databases.pool
        for _ in range(own.get_max_size()):
            await busy.enter_async_context(own.acquire())
        beat_at = began_at = await pool.fetchval("SELECT safelight.now()")
        while beat_at < began_at + 3 * lease:
            next_at = await until(pool, _NEXT_BEAT, beat_at)
            assert next_at - beat_at < lease
            beat_at = next_at
