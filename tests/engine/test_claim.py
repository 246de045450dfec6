"""The claim: of any number of hints, one owner."""

from __future__ import annotations

import asyncio

import asyncpg

from safelight.domain.ids import ImageRowId, JobId, WorkerId, new_worker_id
from safelight.engine.image.lease import Hint, Lease, claim
from safelight.engine.image.settle import release
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import admit
from tests.orders import image, images_of, order

CAPS = {"placeholder": 100}


async def register(pool: asyncpg.Pool, *, slots: int = 10) -> WorkerId:
    worker_id = new_worker_id()
    await pool.execute(
        "INSERT INTO workers VALUES ($1, 'here', 1, '{placeholder}', $2, 4, false, safelight.now(), safelight.now())",
        worker_id,
        slots,
    )
    return worker_id


async def fall_silent(pool: asyncpg.Pool, worker_id: WorkerId) -> None:
    await pool.execute("UPDATE workers SET heartbeat_at = safelight.now() - interval '1 hour' WHERE id = $1", worker_id)


async def admitted(pool: asyncpg.Pool, queue: asyncpg.Pool, *, images: int = 1) -> tuple[JobId, list[Hint]]:
    accepted = await submit(pool, order(*(image(f"img-{n}") for n in range(images))), run_limit_seconds=3600)
    await admit(queue, max_concurrency=CAPS, lease_seconds=15)
    rows = await images_of(pool, accepted.job_id)
    hints = [
        Hint(queue_row_id=row["queue_row_id"], row_id=ImageRowId(row["row_id"]), generation=row["generation"])
        for row in rows
        if row["queue_row_id"] is not None
    ]
    return accepted.job_id, hints


async def take(pool: asyncpg.Pool, hint: Hint, worker_id: WorkerId) -> Lease | None:
    return await claim(pool, hint, worker_id=worker_id, lease_seconds=15)


async def test_of_many_racing_claims_exactly_one_gets_the_image(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    workers = [await register(pool) for _ in range(8)]
    _, hints = await admitted(pool, queue, images=5)
    doubled = [
        (Hint(queue_row_id=1000 * n + hint.queue_row_id, row_id=hint.row_id, generation=hint.generation), worker)
        for n, worker in enumerate(workers)
        for hint in hints
    ]
    leases = await asyncio.gather(*(take(pool, hint, worker) for hint, worker in doubled))
    won = [lease for lease in leases if lease is not None]
    assert sorted(lease.row_id for lease in won) == [hint.row_id for hint in hints]


async def test_a_hint_of_an_earlier_admission_is_stale(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    worker = await register(pool)
    _, [hint] = await admitted(pool, queue)
    await pool.execute("UPDATE images SET admitted_at = NULL")
    await admit(queue, max_concurrency=CAPS, lease_seconds=15)
    assert await take(pool, hint, worker) is None


async def test_a_doubled_queue_row_finds_the_image_owned(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    first, second = await register(pool), await register(pool)
    _, [hint] = await admitted(pool, queue)
    assert await take(pool, hint, first)
    doubled = Hint(queue_row_id=hint.queue_row_id + 1000, row_id=hint.row_id, generation=hint.generation)
    assert await take(pool, doubled, second) is None


async def test_a_doubled_queue_row_brings_a_released_image_back_no_earlier_than_it_is_due(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    """Its generation is still the image's; only that it is no longer admitted tells it from a good one."""
    first, second = await register(pool), await register(pool)
    _, [hint] = await admitted(pool, queue)
    lease = await take(pool, hint, first)
    assert lease is not None
    await release(pool, lease, after_seconds=60)
    assert await take(pool, hint, second) is None


async def test_the_same_queue_row_brought_to_another_worker_moves_the_image(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    first, second = await register(pool), await register(pool)
    job_id, [hint] = await admitted(pool, queue)
    before = await take(pool, hint, first)
    after = await take(pool, hint, second)
    assert before is not None
    assert after is not None
    assert before.token != after.token
    assert after.crash_count == 0, "the first owner lives: its lease was lost, it did not crash"
    [row] = await images_of(pool, job_id)
    assert row["worker_id"] == second


async def test_an_image_of_a_silent_owner_can_be_claimed_and_counts_a_crash(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    first, second = await register(pool), await register(pool)
    _, [hint] = await admitted(pool, queue)
    assert await take(pool, hint, first)
    assert await take(pool, hint, first) is None, "the owner itself does not claim again"
    await fall_silent(pool, first)
    taken = await take(pool, hint, second)
    assert taken is not None
    assert taken.crash_count == 1


async def test_admission_hands_out_no_more_than_provider_and_workers_can_take(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=3)
    await submit(pool, order(*(image(f"img-{n}") for n in range(10))), run_limit_seconds=3600)
    assert await admit(queue, max_concurrency={"placeholder": 2}, lease_seconds=15) == 2
    assert await admit(queue, max_concurrency={"placeholder": 2}, lease_seconds=15) == 0
    assert await admit(queue, max_concurrency={"placeholder": 9}, lease_seconds=15) == 1, "three slots in all"
    await register(pool, slots=3)
    assert await admit(queue, max_concurrency={"placeholder": 9}, lease_seconds=15) == 3
    positions = await pool.fetch("SELECT position FROM images WHERE admitted_at IS NOT NULL ORDER BY 1")
    assert [row["position"] for row in positions] == [0, 1, 2, 3, 4, 5], "in the order given"


async def test_nothing_is_admitted_without_a_living_worker(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    worker = await register(pool)
    await fall_silent(pool, worker)
    _, hints = await admitted(pool, queue)
    assert hints == []
