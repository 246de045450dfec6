from __future__ import annotations

import asyncpg

from safelight.db.migrate import migrate
from safelight.engine.orders.submit import submit
from tests.orders import image, order

FROM_ELSEWHERE = "UPDATE events SET xact = (xact::text::bigint + 10_000_000 * (seq % 3))::text::xid8 WHERE job_id = $1"


async def jobs(pool: asyncpg.Pool, count: int) -> list[str]:
    return [(await submit(pool, order(image("one")), run_limit_seconds=3600)).job_id for _ in range(count)]


async def numbering(pool: asyncpg.Pool) -> tuple[int, int, bool]:
    """Epoch, how many numbers are in use, and whether each was given by this server."""
    row = await pool.fetchrow(
        "SELECT feed_epoch, (SELECT count(DISTINCT xact)::int FROM events),"
        " (SELECT bool_and(xact < pg_snapshot_xmax(pg_current_snapshot())) FROM events) FROM installation"
    )
    assert row is not None
    return tuple(row)


async def test_numbers_of_this_server_are_left_alone(pool: asyncpg.Pool, database: str):
    await jobs(pool, 3)

    await migrate(database)

    assert await numbering(pool) == (1, 3, True)


async def test_rows_out_of_a_dump_of_another_server_are_numbered_anew_once(pool: asyncpg.Pool, database: str):
    job_id, *_ = await jobs(pool, 3)
    await pool.execute(FROM_ELSEWHERE, job_id)
    assert await numbering(pool) == (1, 3, False)

    await migrate(database)
    assert await numbering(pool) == (2, 1, True)

    await jobs(pool, 1)
    await migrate(database)
    assert await numbering(pool) == (2, 2, True)


async def test_a_notice_out_of_a_dump_counts_as_well(pool: asyncpg.Pool, database: str):
    await pool.execute(
        "INSERT INTO notices (at, type, provider, model, data, xact)"
        " VALUES (safelight.now(), 'provider.paused', 'gemini', '', '{}', '18446744073709551615'::xid8)"
    )

    await migrate(database)

    assert await pool.fetchval("SELECT feed_epoch FROM installation") == 2
    assert await pool.fetchval("SELECT xact < pg_snapshot_xmax(pg_current_snapshot()) FROM notices")
