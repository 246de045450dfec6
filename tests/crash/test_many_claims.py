"""Four worker processes over one backlog: no image is claimed by two of them."""

from __future__ import annotations

import asyncio

import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.submit import submit
from tests.crash.claims import list_claims
from tests.crash.conftest import Fleet
from tests.orders import ended, image, order

WORKERS = 4
IMAGES_PER_JOB = 50


async def everything_is_claimed_once(fleet: Fleet, *, images: int, seconds: float) -> None:
    fleet.lease_seconds = 30.0  # not lost by a worker that only waits for a processor
    fleet.slots = 16
    await list_claims(fleet.pool)
    await asyncio.gather(*(fleet.start() for _ in range(WORKERS)))
    jobs = []
    for _ in range(images // IMAGES_PER_JOB):
        wanted = (image(f"img-{n}", timeout_seconds=60) for n in range(IMAGES_PER_JOB))
        jobs.append((await submit(fleet.pool, order(*wanted, outputs=()), run_limit_seconds=3600)).job_id)
    for job_id in jobs:
        assert await ended(fleet.pool, job_id, seconds=seconds) is JobStatus.COMPLETED
    claimed = await fleet.pool.fetchrow("SELECT count(*) AS claims, count(DISTINCT row_id) AS images FROM claims")
    assert dict(claimed) == {"claims": images, "images": images}
    assert await fleet.pool.fetchval("SELECT count(DISTINCT worker_id) FROM claims") == WORKERS
    assert await fleet.pool.fetchval("SELECT count(*) FROM attempts") == images
    await fleet.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_four_workers_claim_ten_thousand_images_once(fleet: Fleet) -> None:
    await everything_is_claimed_once(fleet, images=10_000, seconds=800)
