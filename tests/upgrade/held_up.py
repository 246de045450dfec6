"""A dump that takes as long as a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.orders import until


@asynccontextmanager
async def dumps_held_up(dsn: str) -> AsyncIterator[None]:
    """Whoever dumps this database meanwhile waits, at a table that a backup itself does not read."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE safelight.schedules IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def dump_waits(pool: asyncpg.Pool) -> None:
    """One does wait, and has begun its file."""
    await until(
        pool,
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')",
    )
