"""Images that share a write share nothing else: neither a failure, nor a lease, nor a wait that ends in a deadlock."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from safelight.domain.ids import JobId, new_attempt_id, new_worker_id
from safelight.domain.lifecycle import ImageStatus
from safelight.engine.image import advance
from safelight.engine.image.advance import Finished, Picture, PlannedCall, StoredRendition
from safelight.engine.image.lease import LEASE_LOST, Lease, claim_all, refund_crashes
from safelight.engine.image.outcome import Ended, Opened
from safelight.engine.image.writes import Writes
from safelight.engine.orders.submit import submit
from safelight.settings import Settings
from safelight.wiring.parts import timing_of
from tests.engine import alone
from tests.engine.by_hand import receipt_of
from tests.engine.test_claim import admitted, register, take
from tests.orders import image, order, until


async def test_a_claim_that_waits_in_vain_takes_no_other_along(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    worker = await register(pool)
    _, hints = await admitted(pool, queue, images=3)
    writes = Writes(pool, worker_id=worker, timing=timing_of(Settings()))
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT FROM images WHERE row_id = $1 FOR UPDATE", hints[1].row_id)
        outcomes = await asyncio.gather(*(writes.claim(hint) for hint in hints), return_exceptions=True)
    assert isinstance(outcomes[1], asyncpg.LockNotAvailableError)
    assert isinstance(outcomes[0], Lease)
    assert isinstance(outcomes[2], Lease)


async def test_a_claim_that_came_alone_and_waits_keeps_no_later_one_waiting(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    worker = await register(pool)
    _, hints = await admitted(pool, queue, images=2)
    writes = Writes(pool, worker_id=worker, timing=timing_of(Settings()))
    async with pool.acquire() as holder, holder.transaction():
        await holder.execute("SELECT FROM images WHERE row_id = $1 FOR UPDATE", hints[0].row_id)
        first = asyncio.create_task(writes.claim(hints[0]))
        await until(pool, "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted")

        assert isinstance(await writes.claim(hints[1]), Lease)

        assert not first.done()
    assert isinstance(await first, Lease)


async def test_of_the_same_hint_twice_at_once_one_gets_the_image(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    worker = await register(pool)
    _, hints = await admitted(pool, queue, images=2)
    leases = await claim_all(pool, [hints[0], hints[0], hints[1]], worker_id=worker, lease_seconds=15)
    assert sorted(lease.row_id for lease in leases if lease) == [hint.row_id for hint in hints]


async def generating(pool: asyncpg.Pool, queue: asyncpg.Pool) -> tuple[JobId, Lease, Lease]:
    """A lease that was lost while its call was open, and the one that holds."""
    worker = await register(pool)
    job_id, [hint] = await admitted(pool, queue)
    lease = await take(pool, hint, worker)
    assert lease is not None
    assert isinstance(
        await alone.open_attempt(pool, lease, new_attempt_id(), call_seconds=60, grace_seconds=60), Opened
    )
    lease = lease.moved(ImageStatus.GENERATING)
    token = await pool.fetchval("UPDATE images SET claim_token = gen_random_uuid() RETURNING claim_token")
    return job_id, lease, replace(lease, token=token)


@pytest.mark.parametrize("is_lost_first", [True, False])
async def test_a_lost_lease_beside_the_one_that_holds_is_told_so(
    is_lost_first: bool, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    job_id, lost, held = await generating(pool, queue)
    attempt_id = await pool.fetchval("SELECT id FROM attempts")
    leases = [lost, held] if is_lost_first else [held, lost]
    pictures = [Picture(lease=each, receipt=receipt_of(each, attempt_id, b"bytes")) for each in leases]
    received = dict(zip((each.token for each in leases), await advance.receive(pool, job_id, pictures), strict=True))
    assert received[lost.token] == LEASE_LOST
    assert received[held.token] == held.moved(ImageStatus.UPLOADING)


@pytest.mark.parametrize("is_lost_first", [True, False])
async def test_the_outputs_of_an_image_are_those_of_the_lease_that_holds(
    is_lost_first: bool, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    job_id, lost, held = await generating(pool, queue)
    await pool.execute("UPDATE images SET status = 'uploading'")
    images = [
        Finished(
            lease=lease.moved(ImageStatus.UPLOADING),
            attempt_id=f"att_{key}",
            renditions=[
                StoredRendition(
                    name="card",
                    key=key,
                    format="jpeg",
                    mime="image/jpeg",
                    width_px=1,
                    height_px=1,
                    length=1,
                    sha256="0" * 64,
                )
            ],
        )
        for lease, key in ((lost, "lost"), (held, "held"))
    ]
    if not is_lost_first:
        images.reverse()
    done = dict(zip([each.attempt_id for each in images], await advance.complete(pool, job_id, images), strict=True))
    assert await pool.fetchval("SELECT key FROM renditions") == "held"
    assert done == {"att_lost": LEASE_LOST, "att_held": Ended(ImageStatus.COMPLETED)}


async def test_calls_that_are_opened_together_wait_for_their_images_in_the_order_of_the_job(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    """Whoever takes back the crashes of a worker that was thought dead locks images of many jobs, by their position."""
    worker = await register(pool)
    await submit(pool, order(*(image(f"other-{n}", provider="gemini") for n in range(1000))), run_limit_seconds=3600)
    job_id, hints = await admitted(pool, queue, images=3)
    await pool.execute(
        "UPDATE images SET status = 'processing', claim_token = gen_random_uuid() WHERE id LIKE 'other%'"
    )
    await pool.execute("ANALYZE images")  # a busy installation
    leases = [lease for lease in await claim_all(pool, hints, worker_id=worker, lease_seconds=15) if lease]
    silent = new_worker_id()
    first, second, third = sorted(leases, key=lambda lease: lease.row_id)
    await pool.execute("UPDATE images SET crash_owner = $1, crash_count = 1", silent)

    async with pool.acquire() as holder, pool.acquire() as refunding:
        hold = holder.transaction()
        await hold.start()
        await holder.execute("SELECT FROM images WHERE row_id = $1 FOR UPDATE", second.row_id)
        refund = asyncio.create_task(refund_crashes(refunding, silent))  # pyright: ignore[reportArgumentType]
        await until_waiting(pool, 1)
        calls = [PlannedCall(lease=each, attempt_id=new_attempt_id(), seconds=60) for each in (third, first)]
        opening = asyncio.create_task(advance.open_attempts(pool, job_id, calls, grace_seconds=60))
        await until_waiting(pool, 2)
        await hold.rollback()
        opened, _ = await asyncio.gather(opening, refund)
    assert all(isinstance(each, Opened) for each in opened)


async def until_waiting(pool: asyncpg.Pool, count: int) -> None:
    await until(
        pool,
        "SELECT count(*) >= $1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        count,
    )
