from __future__ import annotations

import asyncio
import select
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from safelight.db.pool import _FOR_HINTS, _FOR_QUEUES, _SETTINGS, close_pool, connect, open_pool
from safelight.wiring.parts import pools


async def test_json_goes_in_and_out_as_python_values(pool: asyncpg.Pool):
    value = {"prompt": "café ☕", "seeds": [1, None, True], "text": "null"}

    assert await pool.fetchval("SELECT $1::jsonb", value) == value
    assert await pool.fetchval("SELECT $1::jsonb ->> 'text'", value) == "null"


async def test_a_connection_for_pgqueuer_leaves_json_as_text(database: str):
    connection = await connect(database, application_name="queue", jsonb_as_values=False)

    assert await connection.fetchval("""SELECT '{"a": 1}'::jsonb""") == '{"a": 1}'
    await connection.close()


async def test_now_is_the_servers_clock_and_safelight_now_is_the_one_a_test_can_shift(pool: asyncpg.Pool):
    await pool.execute("UPDATE installation SET clock_shift = '1 day'")

    row = await pool.fetchrow("SELECT now() - pg_catalog.now() AS real, safelight.now() - now() AS shifted")

    assert row is not None
    assert row["real"].total_seconds() == 0
    assert 86_399 < row["shifted"].total_seconds() < 86_401


async def test_an_unfinished_transaction_does_not_survive_the_return_of_its_connection(database: str):
    pool = await open_pool(database, min_size=1, max_size=1, application_name="tests")
    async with pool.acquire() as connection:
        await connection.execute("BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL search_path = public")
    async with pool.acquire() as connection:
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SHOW statement_timeout") == "5s"
        assert await connection.fetchval("SHOW lock_timeout") == "2s"
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"
        assert await connection.fetchval("SHOW search_path") == "safelight"
        assert await connection.fetchval("SHOW application_name") == "tests"
    await close_pool(pool)


async def test_a_statement_that_is_cut_off_once_it_is_parsed_leaves_nothing_open(database: str):
    loop = asyncio.get_running_loop()
    pool = await open_pool(database, min_size=1, max_size=1, application_name="tests")
    async with pool.acquire() as connection:
        cut_off = asyncio.create_task(connection.fetch("SELECT count(*) FROM jobs"))
        await asyncio.sleep(0)
        select.select([connection._con._transport.get_extra_info("socket")], [], [], 30)  # pyright: ignore
        await asyncio.sleep(0)
        loop.call_soon(cut_off.cancel)  # the answer has been read, and who waits for it does not run before this
        with pytest.raises(asyncio.CancelledError):
            await cut_off

    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        assert await connection.fetchval("SELECT 1") == 1
    await close_pool(pool)


async def test_a_value_that_cannot_be_sent_leaves_nothing_open(database: str):
    pool = await open_pool(database, min_size=1, max_size=1, application_name="tests")

    with pytest.raises(asyncpg.DataError):
        await pool.fetch("SELECT id FROM jobs WHERE seq = $1", "not a number")

    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        assert await connection.fetchval("SELECT 1") == 1
    await close_pool(pool)


async def test_times_are_aware_utc(pool: asyncpg.Pool):
    moment = datetime(2026, 3, 29, 2, 30, tzinfo=UTC)

    assert await pool.fetchval("SELECT $1::timestamptz", moment) == moment
    assert await pool.fetchval("SELECT $1::timestamptz::text", moment) == "2026-03-29 02:30:00+00"


@pytest.mark.parametrize("run", [1, 2])
async def test_each_test_has_a_database_of_its_own(pool: asyncpg.Pool, run: int):
    assert await pool.fetchval("SELECT store_marker FROM installation") is None
    await pool.execute("UPDATE installation SET store_marker = $1", f"run {run}")


async def test_nothing_is_compiled_however_dear_a_switched_off_scan_is_said_to_be(database: str) -> None:
    for for_queues in (False, True):
        pool = await open_pool(database, min_size=1, max_size=1, application_name="tests", for_queues=for_queues)
        try:
            assert await pool.fetchval("SHOW jit") == "off"
        finally:
            await close_pool(pool)


async def test_only_hints_may_be_lost_in_a_power_cut(database: str, pool: asyncpg.Pool) -> None:
    name = await pool.fetchval("SELECT current_database()")
    await pool.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    async with pools(database, name="worker", size=1, works=True) as databases:
        assert await databases.pool.fetchval("SHOW synchronous_commit") == "on", "whatever the server's default is"
        assert await databases.queue.fetchval("SHOW synchronous_commit") == "off"


def test_a_pooler_is_told_of_every_setting_that_a_connection_begins_with() -> None:
    told = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    (line,) = [each for each in told.splitlines() if each.startswith("ignore_startup_parameters = ")]
    ignored = set(line.removeprefix("ignore_startup_parameters = ").split(","))
    known_to_poolers = {"timezone", "application_name"}
    assert {*_SETTINGS, *_FOR_HINTS, *_FOR_QUEUES} - known_to_poolers <= ignored
