"""A worker is killed while it erases: the next one goes on, and nothing of the job was served meanwhile."""

from __future__ import annotations

import pytest

from safelight.engine.orders.submit import submit
from safelight.engine.upkeep.erasure import ErasurePoint, remove
from safelight.storage.local import LocalBlobStore
from tests.crash.conftest import Fleet
from tests.orders import ended, image, order, until


@pytest.mark.parametrize(
    "point", [ErasurePoint.ERASURE_MARKED, pytest.param(ErasurePoint.ERASURE_DELETED, marks=pytest.mark.slow)]
)
async def test_an_erasure_that_a_kill_broke_off_is_finished_by_the_next_worker(fleet: Fleet, point: str) -> None:
    doomed = await fleet.start(f"{point}:kill@1")
    job_id = (await submit(fleet.pool, order(image("one"), image("two")), run_limit_seconds=3600)).job_id
    await ended(fleet.pool, job_id)
    blobs = LocalBlobStore(fleet.home / "blobs")
    assert len(await keys_of(blobs)) == 2

    await remove(fleet.pool, job_id, account="default")
    await fleet.killed(doomed)

    assert await fleet.pool.fetchval("SELECT removed_at IS NOT NULL AND cleared_at IS NULL FROM jobs")
    assert len(await keys_of(blobs)) == (2 if point == ErasurePoint.ERASURE_MARKED else 0)
    await fleet.start()
    await until(fleet.pool, "SELECT cleared_at IS NOT NULL FROM jobs WHERE id = $1", job_id)
    assert await keys_of(blobs) == []
    assert await fleet.pool.fetchval("SELECT count(*) FROM renditions") == 0


async def keys_of(blobs: LocalBlobStore) -> list[str]:
    return [each.key async for step in blobs.keys(older_than_seconds=-10) for each in step]
