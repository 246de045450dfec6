"""What admission counts, and what it leaves where it is."""

from __future__ import annotations

import asyncpg

from safelight.engine import settle
from safelight.engine.admission import admit
from safelight.engine.submit import submit
from safelight.settings import Settings
from tests.engine.by_hand import admitted_one, pass_time, pipeline_of
from tests.engine.test_claim import register, take
from tests.orders import image, order

CAP_1 = {"placeholder": 1}


async def lanes(pool: asyncpg.Pool) -> list[tuple[str, str]]:
    rows = await pool.fetch("SELECT id, lane FROM images WHERE admitted_at IS NOT NULL ORDER BY row_id")
    return [(row["id"], row["lane"]) for row in rows]


async def test_a_call_that_may_still_answer_counts_against_its_provider_and_its_image_only_finishes(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    _, hint = await admitted_one(pool, queue, image("unresolved", timeout_seconds=100))
    lease = await take(pool, hint, worker)
    assert lease is not None
    async with pipeline_of(settings, pool, worker) as pipeline:
        assert await pipeline.commit(lease) is not None
    await pool.execute("UPDATE images SET status = 'processing'")
    await settle.release(pool, lease)
    await submit(pool, order(image("next")), run_limit_seconds=3600)

    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=15) == 1
    assert await lanes(pool) == [("unresolved", "finish")], "the vendor may still be busy with the lost call"
    await pool.execute("UPDATE attempts SET status = 'unknown'")
    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=15) == 1
    assert await lanes(pool) == [("unresolved", "finish"), ("next", "buy")]


async def test_an_image_is_not_admitted_before_it_is_due(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await submit(pool, order(image("later")), run_limit_seconds=3600)
    await pool.execute("UPDATE images SET not_before = safelight.now() + interval '60 s'")
    await register(pool)
    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=15) == 0
    await pass_time(pool, 61)
    await register(pool)
    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=15) == 1


async def test_a_worker_that_drains_offers_no_slots(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool)
    await pool.execute("UPDATE workers SET draining = true")
    await submit(pool, order(image("img")), run_limit_seconds=3600)
    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=15) == 0


async def test_a_silent_worker_offers_no_slots_beside_one_that_lives(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool, slots=5)
    await pass_time(pool, 3600)
    await register(pool, slots=1)
    await submit(pool, order(*(image(f"img-{n}") for n in range(4))), run_limit_seconds=3600)
    assert await admit(queue, max_concurrency={"placeholder": 9}, lease_seconds=15) == 1


async def test_an_image_that_only_finishes_takes_no_slot_of_those_that_buy(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    _, hint = await admitted_one(pool, queue, image("unresolved", timeout_seconds=100))
    lease = await take(pool, hint, worker)
    assert lease is not None
    async with pipeline_of(settings, pool, worker) as pipeline:
        assert await pipeline.commit(lease) is not None
    await pool.execute("UPDATE images SET status = 'processing'")
    await settle.release(pool, lease)
    await pool.execute("UPDATE workers SET finish_slots = 0")
    assert await admit(queue, max_concurrency={"placeholder": 8}, lease_seconds=15) == 0
