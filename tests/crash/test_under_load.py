"""The database ends every session, or dies and comes back, while clients order: whoever heard `202` has their job."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from safelight.db.embedded import EmbeddedServer
from safelight.db.migrate import migrate
from safelight.db.pool import close_pool, open_pool
from tests.crash.conftest import END_EVERY_SESSION
from tests.crash.load import Told, assert_kept_once, ordering
from tests.crash.processes import api, started
from tests.orders import until

FIRST_SUCCESS_SECONDS = 5.0
"""Promised: so long after PostgreSQL answers again, an order is accepted."""

ALL_ENDED = "SELECT count(*) = 0 FROM jobs WHERE completed_at IS NULL"

Trouble = Callable[[Told], Awaitable[None]]


async def through(dsn: str, pool: asyncpg.Pool, home: Path, trouble: Trouble, *, clients: int, workers: int) -> Told:
    """What clients of an installation were told while there was trouble; everything that they ordered has ended."""
    settings = {"database_url": dsn, "home": home, "admission_seconds": 0.1, "dequeue_seconds": 0.3, "sweep_seconds": 1}
    log = home / "all.log"
    async with AsyncExitStack() as stack:
        for _ in range(workers):
            await stack.enter_async_context(started("worker", log=log, **settings))
        client = await stack.enter_async_context(api(log=log, **settings))
        async with ordering(client, clients=clients) as told:
            await told.has_accepted(clients)
            await trouble(told)
            await told.has_accepted(clients)
        await until(pool, ALL_ENDED, seconds=90)
    await assert_kept_once(pool, told)
    return told


@pytest.mark.slow
async def test_every_session_is_ended_again_and_again_under_load(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    ended = []

    async def trouble(told: Told) -> None:
        for _ in range(3):
            ended.append(await pool.fetchval(END_EVERY_SESSION))
            await told.has_accepted(2)

    await through(database, pool, tmp_path, trouble, clients=2, workers=1)
    assert min(ended) > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_postgres_dies_three_times_under_load_and_five_seconds_after_its_return_orders_are_accepted(
    own_server: EmbeddedServer, open_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by `pg_ctl stop -m immediate`: no session ends in good order, and the log is replayed at the next start."""
    dsn = await asyncio.to_thread(own_server.start)
    await migrate(dsn)
    took_seconds = []

    async def trouble(told: Told) -> None:
        for _ in range(3):
            os.kill(postmaster_of(open_folder), signal.SIGQUIT)
            await no_longer_answers(dsn)
            assert await asyncio.to_thread(own_server.start) == dsn
            is_up = time.monotonic()
            await told.has_accepted(4)
            took_seconds.append(told.first_accepted_after(is_up) - is_up)

    pool = await open_pool(dsn, min_size=1, max_size=4, application_name="tests")
    try:
        told = await through(dsn, pool, tmp_path, trouble, clients=4, workers=2)
    finally:
        await close_pool(pool)
    with capsys.disabled():
        seconds = ", ".join(f"{each:.2f}" for each in took_seconds)
        print(f"\n{len(told.acknowledged)} orders, 3 deaths of PostgreSQL: accepted again after {seconds} s")
    assert max(took_seconds) <= FIRST_SUCCESS_SECONDS


def postmaster_of(home: Path) -> int:
    return int((home / "pg" / "data" / "postmaster.pid").read_text().split()[0])


async def no_longer_answers(dsn: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                connection = await asyncpg.connect(dsn)
            except (OSError, asyncpg.PostgresError):
                return
            await connection.close()
