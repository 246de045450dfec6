"""Intent before money: the attempt is committed when its request arrives, and what came since the look back counts."""

from __future__ import annotations

import asyncio

import asyncpg

from safelight.domain.attempts import Buy
from safelight.engine.image.lease import LEASE_LOST
from safelight.sandbox.server import RunningSandbox
from safelight.settings import Settings
from safelight.storage.staging import Receipt
from tests.engine import alone
from tests.engine.books import register_for_all
from tests.engine.by_hand import admitted_one, pass_time, picture, pipeline_of, receipt_of, run
from tests.engine.test_claim import register, take
from tests.orders import attempts_of, event_types, image, images_of, vendor_image

TIMEOUT_SECONDS = 60.0


async def test_a_vendor_that_is_asked_finds_the_attempt_already_committed(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox
) -> None:
    """As another session sees it, which is what a crash would leave."""
    worker = await register_for_all(pool)
    job_id, hint = await admitted_one(pool, queue, vendor_image("img", timeout_seconds=TIMEOUT_SECONDS))
    vendor = sandbox.vendor
    vendor.hold()
    async with pipeline_of(settings, pool, worker) as pipeline:
        running = asyncio.create_task(run(pipeline, hint))
        assert await vendor.wait_until(lambda: vendor.in_flight == 1, timeout_seconds=60)
        attempts, told = await attempts_of(pool, job_id), await event_types(pool, job_id)
        [row] = await images_of(pool, job_id)
        vendor.release()
        await running
    assert [a["status"] for a in attempts] == ["sent"]
    assert row["status"] == "generating"
    assert told == ["job.created", "job.started", "image.started"]


async def test_a_picture_that_came_since_the_look_back_is_not_bought_again(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    """`commit` asks once more, under the job's lock."""
    first, second = await register(pool), await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img", timeout_seconds=TIMEOUT_SECONDS))
    async with pipeline_of(settings, pool, first) as pipeline:
        stale = await take(pool, hint, first)
        assert stale is not None
        sent = await pipeline.commit(stale)
        assert sent is not None
    receipt: Receipt = receipt_of(stale, sent.id, picture())
    async with pipeline_of(settings, pool, second) as pipeline:
        await pass_time(pool, TIMEOUT_SECONDS + 10)
        lease = await pipeline.claim(hint)
        assert lease is not None
        assert await pipeline.look_back(lease) == Buy(), "nothing of the first call is known"
        assert await alone.receive(pool, stale, receipt) is LEASE_LOST
        assert await pipeline.commit(lease) is None
    assert [a["status"] for a in await attempts_of(pool, job_id)] == ["received"]
