"""A worker beats for as long as it lives and reaches the database, whatever its images wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import asyncpg

from safelight.engine.worker import Worker
from safelight.settings import Settings
from tests.orders import until

Start = Callable[[], AbstractAsyncContextManager[Worker]]

_IS_SILENT = "SELECT heartbeat_at <= safelight.now() - make_interval(secs => $1) FROM workers"


async def test_a_worker_whose_connections_are_all_busy_is_not_taken_for_dead(
    pool: asyncpg.Pool, settings: Settings, start_worker: Start
) -> None:
    async with start_worker() as worker, AsyncExitStack() as busy:
        await until(pool, "SELECT count(*) = 1 FROM workers")
        own = worker._databases.pool
        for _ in range(own.get_max_size()):
            await busy.enter_async_context(own.acquire())
        ends_at = asyncio.get_running_loop().time() + 3 * settings.lease_seconds
        while asyncio.get_running_loop().time() < ends_at:
            assert not await pool.fetchval(_IS_SILENT, settings.lease_seconds)
            await asyncio.sleep(0.02)  # the length of the trouble is the test
