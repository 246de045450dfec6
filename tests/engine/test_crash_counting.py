"""Owners that die on an image are counted; an owner that was only stalled takes its count back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg

from safelight.domain.lifecycle import JobStatus
from safelight.engine.image.lease import claim, refund_crashes
from safelight.engine.orders.submit import submit
from safelight.engine.queue.worker import Worker
from safelight.sandbox.server import RunningSandbox
from tests.engine.test_claim import admitted, fall_silent, register, take
from tests.orders import ended, images_of, order, until, vendor_image

Start = Callable[[], AbstractAsyncContextManager[Worker]]


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


async def test_a_living_worker_that_was_counted_as_dead_says_so_with_its_next_beat(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    """While its call is held nothing else could clear the count: the image gets no further."""
    sandbox.vendor.hold()
    accepted = await submit(pool, order(vendor_image("img", timeout_seconds=60)), run_limit_seconds=3600)
    async with start_worker():
        assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 1, timeout_seconds=20)
        await pool.execute(
            "WITH silent AS (UPDATE workers SET heartbeat_at = safelight.now() - interval '1 hour' RETURNING id)"
            " UPDATE images SET crash_count = 1, crash_owner = silent.id FROM silent"
        )
        await until(pool, "SELECT crash_count = 0 FROM images", seconds=10)
        sandbox.vendor.release()
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED


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
