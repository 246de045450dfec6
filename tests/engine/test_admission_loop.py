"""The loop that admits images: it ends when it is told to, and finds what is due among much that is not."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import pytest

from safelight.engine.queue.admission import MAX_ACCOUNTS, Admission
from safelight.engine.timing import Timing
from tests.engine.test_claim import register
from tests.engine.test_fair_share import account, begun


@pytest.mark.parametrize("turns", range(4))
async def test_a_nudge_at_the_moment_of_its_end_does_not_keep_it_alive(queue: asyncpg.Pool, turns: int) -> None:
    admission = Admission(queue, max_concurrency={}, timing=Timing(admission_seconds=60.0))
    loop = asyncio.create_task(admission.run())
    async with asyncio.timeout(20):
        while not admission._nudged._waiters:  # noqa: ASYNC110 - it waits for a nudge
            await asyncio.sleep(0.01)
    admission.nudge()
    for _ in range(turns):
        await asyncio.sleep(0)
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.timeout(20):
            await loop
    assert loop.cancelled()


async def test_an_image_that_is_due_is_found_soon_among_many_accounts_whose_images_are_not(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    """Jobs of a morning that is still far away keep nobody waiting beside idle workers."""
    await register(pool)
    for n in range(15 * MAX_ACCOUNTS):
        await account(pool, f"later-{n:03}", images=1)
    await pool.execute("UPDATE images SET not_before = safelight.now() + interval '8 hours'")
    await account(pool, "now", images=1)
    admission = Admission(queue, max_concurrency={"placeholder": 8}, timing=Timing(lease_seconds=1e9))
    assert [await admission.admit_once() for _ in range(5)] == [0, 0, 0, 0, 1]
    assert await begun(pool, "now") == 1
