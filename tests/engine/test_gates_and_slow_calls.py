"""Gates beside calls that take long: a vendor slower than its probes' leases, and a gate that does not answer."""

from __future__ import annotations

import asyncio

import asyncpg

from safelight.engine.gates import gate_states
from safelight.settings import Settings
from tests.engine.by_hand import admitted_one, pass_time, pipeline_of, run, staging_of
from tests.engine.gate_stage import admitted, answer, fail, is_shut, paused, send, temporary, waiting
from tests.engine.test_claim import register
from tests.orders import image, images_of, until

__all__ = ["paused"]  # the fixture: a gate that is shut, and a worker that has room

REPORT_WAITS = (
    "SELECT count(*) > 0 FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND query LIKE '%-- name: answer%' AND datname = current_database()"
)


async def test_a_vendor_slower_than_its_probes_opens_its_gate_all_the_same(
    pool: asyncpg.Pool, queue: asyncpg.Pool, paused: None
) -> None:
    """A job may take longer than a probe is waited for: each probe would be overtaken by the next, for ever."""
    first, second = await waiting(pool, "placeholder-1", "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [first]
    await send(pool, first, status="unknown")
    await pool.execute("UPDATE attempts SET remote = '{}', status = 'submitted'")
    await pass_time(pool, 3600)
    assert await admitted(pool, queue) == [second]
    await answer(pool)
    assert await is_shut(pool), "a stranger made no call since the gate was shut"
    await answer(pool, row_id=first)
    assert not await is_shut(pool)
    assert await gate_states(pool) == []


async def test_a_paid_picture_is_staged_before_the_gates_hear_of_it(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings, database: str
) -> None:
    """What holds the report up, a database that hangs say, must find the picture on disk."""
    await fail(pool, temporary())
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    other = await asyncpg.connect(database)
    async with pipeline_of(settings, pool, worker) as pipeline:
        holding = other.transaction()
        await holding.start()
        await other.execute("LOCK TABLE safelight.gates IN EXCLUSIVE MODE")
        working = asyncio.create_task(run(pipeline, hint))
        await until(pool, REPORT_WAITS)
        staged = await staging_of(settings).pending()
        await holding.rollback()
        await other.close()
        await working
    assert len(staged) == 1
    assert [row["status"] for row in await images_of(pool, job_id)] == ["completed"]
