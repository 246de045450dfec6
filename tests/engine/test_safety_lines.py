"""Lines that nobody would miss on a good day: each of these tests fails when its line is gone.

Every race is played, not hoped for: the one who comes first is held in the middle of its work by a lock on a table that
it needs, and let go when the other one has come as far as it can.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from safelight.domain.lifecycle import ImageStatus
from safelight.engine.image.lease import Lease
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import admit
from safelight.engine.queue.sweep import sweep
from safelight.settings import Settings
from tests.engine import alone
from tests.engine.by_hand import admitted_one, patient, picture, pipeline_of, receipt_of, staging_of
from tests.engine.test_claim import register, take
from tests.orders import attempts_of, image, images_of, order, until

_HELD = """
    SELECT count(*) = $1 FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
    WHERE NOT l.granted AND d.datname = current_database()
"""


@pytest.fixture
async def unhurried(database: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections that wait for a lock for as long as it takes, and keep what they hold, as all of ours do."""

    async def keep_everything(_connection: object) -> None: ...

    settings = {"search_path": "safelight"}
    pool = await asyncpg.create_pool(database, min_size=1, max_size=4, reset=keep_everything, server_settings=settings)
    yield pool
    await pool.close()


@asynccontextmanager
async def locked(unhurried: asyncpg.Pool, table: str) -> AsyncIterator[None]:
    """Nobody else reads or writes the table inside of the block."""
    async with unhurried.acquire() as conn, conn.transaction():
        await conn.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


async def test_two_admissions_at_once_admit_no_more_than_a_provider_takes(
    pool: asyncpg.Pool, unhurried: asyncpg.Pool
) -> None:
    """Each would count the images held without those that the other has marked and not committed."""
    await register(pool)
    await submit(pool, order(*(image(f"img-{n}") for n in range(8))), run_limit_seconds=3600)

    async def admit_three() -> int:
        return await admit(unhurried, max_concurrency={"placeholder": 3}, lease_seconds=15)

    async with asyncio.TaskGroup() as both, locked(unhurried, "pgqueuer"):  # marking is done, handing over waits
        first, second = both.create_task(admit_three()), both.create_task(admit_three())
        await until(pool, _HELD, 2)

    assert sorted([first.result(), second.result()]) == [0, 3]
    assert await pool.fetchval("SELECT count(*) FROM images WHERE admitted_at IS NOT NULL") == 3


async def test_a_sweep_that_meets_another_one_leaves_everything_to_it(
    pool: asyncpg.Pool, queue: asyncpg.Pool, unhurried: asyncpg.Pool, settings: Settings
) -> None:
    staging, timing = staging_of(settings), patient(settings)
    async with asyncio.TaskGroup() as group, locked(unhurried, "attempts"):
        first = group.create_task(sweep(unhurried, unhurried, staging, timing=timing))
        await until(pool, _HELD, 1)
        assert await sweep(pool, queue, staging, timing=timing) is None

    assert first.result() is not None
    assert await sweep(pool, queue, staging, timing=timing) is not None, "one that is done is in nobody's way"


async def test_whoever_lost_its_lease_leaves_the_staged_bytes_to_the_new_owner(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    """They are all that the new owner has of the paid picture until it is completed."""
    first, second = await register(pool), await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    staging = staging_of(settings)
    async with pipeline_of(settings, pool, first) as pipeline:
        lease = await take(pool, hint, first)
        assert lease is not None
        sent = await pipeline.commit(lease, call_seconds=100)
        assert sent is not None
        receipt = receipt_of(lease, sent.id, picture())
        await staging.stage(receipt, picture())
        stale = await alone.receive(pool, lease.moved(ImageStatus.GENERATING), receipt)
        assert isinstance(stale, Lease)
        current = await take(pool, hint, second)
        assert current is not None

        await pipeline.keeper.finish(stale, receipt, picture())

        assert await staging.load(sent.id) == (receipt, picture())
        await pipeline.work(current)
    assert [row["status"] for row in await images_of(pool, job_id)] == ["completed"]
    assert [attempt["status"] for attempt in await attempts_of(pool, job_id)] == ["settled"]
    assert await staging.pending() == []
