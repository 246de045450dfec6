"""A worker that stands still, in the middle of a sweep or with a job's lock, does not keep the others from healing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from safelight.engine.image.journal import locked_job
from safelight.engine.queue.sweep import Findings, sweep
from safelight.engine.timing import Timing
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import Receipt
from tests.engine.test_claim import admitted, fall_silent, register, take


class _StandsStill(LocalStaging):
    """Whoever looks at what is staged stays there."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_reached = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def pending(self) -> list[Receipt]:
        self.is_reached.set()
        await self.goes_on.wait()
        return await super().pending()


async def test_a_sweep_that_stands_still_is_followed_by_another_and_ends_in_good_order(
    pool: asyncpg.Pool, queue: asyncpg.Pool, tmp_path: Path
) -> None:
    timing = Timing(lease_seconds=0.25)
    stopped = _StandsStill(tmp_path)
    first = asyncio.create_task(sweep(pool, queue, stopped, timing=timing))
    async with asyncio.timeout(20):
        await stopped.is_reached.wait()
        assert await sweep(pool, queue, LocalStaging(tmp_path), timing=timing) is None, "one at a time"
        while await sweep(pool, queue, LocalStaging(tmp_path), timing=timing) is None:  # noqa: ASYNC110 - the server's clock
            await asyncio.sleep(0.1)
        stopped.goes_on.set()
        assert await first is not None
    assert await sweep(pool, queue, LocalStaging(tmp_path), timing=timing) is not None


@pytest.mark.parametrize("held", [0, 1])
async def test_a_job_whose_lock_is_held_for_long_keeps_no_other_job_from_being_healed(
    held: int, pool: asyncpg.Pool, queue: asyncpg.Pool, tmp_path: Path
) -> None:
    staging, timing = LocalStaging(tmp_path), Timing()
    worker = await register(pool)
    jobs = [await admitted(pool, queue, images=3) for _ in range(2)]
    for _, hints in jobs:
        assert await take(pool, hints[0], worker)
    await fall_silent(pool, worker)
    await pool.execute("DELETE FROM pgqueuer")
    await pool.execute("UPDATE images SET stop = 'cancel', admitted_at = NULL WHERE status = 'queued'")

    async with locked_job(pool, jobs[held][0]):
        assert await sweep(pool, queue, staging, timing=timing) == Findings(orphans=1, stopped=2)

    assert await sweep(pool, queue, staging, timing=timing) == Findings(orphans=1, stopped=2)
    assert await sweep(pool, queue, staging, timing=timing) == Findings()


async def test_a_job_that_cannot_be_healed_keeps_no_other_job_from_it(
    pool: asyncpg.Pool, queue: asyncpg.Pool, tmp_path: Path
) -> None:
    await register(pool)
    jobs = [job_id for job_id, _ in [await admitted(pool, queue, images=1) for _ in range(4)]]
    await pool.execute("UPDATE images SET stop = 'cancel', admitted_at = NULL")
    await pool.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF NEW.job_id IN ('{jobs[0]}', '{jobs[2]}') THEN RAISE 'refused'; END IF; RETURN NEW; END $$"
    )
    await pool.execute("CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()")

    assert await sweep(pool, queue, LocalStaging(tmp_path), timing=Timing()) == Findings(stopped=2)

    await pool.execute("DROP TRIGGER refuse ON events")
    assert await sweep(pool, queue, LocalStaging(tmp_path), timing=Timing()) == Findings(stopped=2)
