"""Owners that die on an image are counted; an owner that was only stalled takes its count back."""

from __future__ import annotations

import asyncpg

from safelight.engine.lease import claim, refund_crashes
from tests.engine.test_claim import admitted, fall_silent, register, take
from tests.orders import images_of


async def test_a_worker_that_turns_out_to_live_takes_its_crashes_back(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    first, second = await register(pool), await register(pool)
    job_id, [hint] = await admitted(pool, queue)
    assert await take(pool, hint, first)
    await fall_silent(pool, first)
    taken = await take(pool, hint, second)
    assert taken is not None
    assert taken.crash_count == 1
    async with pool.acquire() as conn:
        await refund_crashes(conn, first)  # pyright: ignore[reportArgumentType]
        await refund_crashes(conn, first)  # pyright: ignore[reportArgumentType]
    [row] = await images_of(pool, job_id)
    assert row["crash_count"] == 0


async def test_each_dead_owner_without_progress_is_counted(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    first = await register(pool)
    _, [hint] = await admitted(pool, queue)
    assert await take(pool, hint, first)
    await fall_silent(pool, first)
    for crashes in (1, 2, 3):
        worker = await register(pool)
        lease = await claim(pool, hint, worker_id=worker, lease_seconds=15)
        assert lease is not None
        assert lease.crash_count == crashes
        await fall_silent(pool, worker)
