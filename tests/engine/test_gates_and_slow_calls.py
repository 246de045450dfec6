"""Gates beside calls that take long: a vendor slower than its probes' leases, and a gate that does not answer."""

from __future__ import annotations

import asyncio

import asyncpg

from safelight.domain.gates import BURST
from safelight.engine.gates import gate_states
from safelight.providers.provider import ImageProvider, ImageRequest, ImageResult, ProviderError, Refusal, RemoteHandle
from safelight.settings import Settings
from tests.engine.by_hand import admitted_one, pass_time, pipeline_of, run, staging_of
from tests.engine.gate_stage import admitted, answer, fail, is_shut, paused, send, temporary, waiting
from tests.engine.test_claim import admitted as handed_out
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


class Slow:
    """A vendor that ends each call when and how it is told to."""

    def __init__(self, vendor: ImageProvider) -> None:
        self._vendor = vendor
        self.calls: asyncio.Queue[asyncio.Future[ProviderError | None]] = asyncio.Queue()

    def __getattr__(self, name: str) -> object:
        return getattr(self._vendor, name)

    async def submit(self, request: ImageRequest) -> ImageResult | Refusal | RemoteHandle:
        end: asyncio.Future[ProviderError | None] = asyncio.get_running_loop().create_future()
        self.calls.put_nowait(end)
        if (failure := await end) is not None:
            raise failure
        return await self._vendor.submit(request)


async def test_calls_that_were_made_before_the_first_failure_count_when_they_end_well(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    """Of the first wave nobody takes note when it leaves: one that fails here and there would pause a vendor that
    works."""
    worker = await register(pool)
    _, hints = await handed_out(pool, queue, images=2 * BURST)
    async with pipeline_of(settings, pool, worker) as pipeline:
        vendor = Slow(pipeline.providers["placeholder"])
        pipeline.providers = {"placeholder": vendor}  # pyright: ignore[reportAttributeAccessIssue]
        working = {asyncio.create_task(run(pipeline, hint)) for hint in hints}
        calls = [await vendor.calls.get() for _ in hints]
        for n, call in enumerate(calls, start=1):
            call.set_result(None if n % BURST == 0 else temporary())
            done, working = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            assert [task.exception() for task in done] == [None]
            assert not await is_shut(pool), "never so many in a row"
    assert await gate_states(pool) == []
