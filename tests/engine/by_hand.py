"""One worker's pipeline without its loops: no beat, no sweep, no admission. A test takes each step itself and moves the
database's clock instead of waiting."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
from PIL import Image

from safelight.domain.ids import ImageRowId, JobId, WorkerId
from safelight.domain.money import CostBasis
from safelight.domain.order import ImageOrder
from safelight.engine.failpoints import Failpoints
from safelight.engine.image.addresses import Addresses
from safelight.engine.image.attempt import AttemptPipeline
from safelight.engine.image.keep import Keeper
from safelight.engine.image.lease import Hint, Lease
from safelight.engine.image.writes import Writes
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import admit
from safelight.engine.queue.sweep import Findings, sweep
from safelight.engine.timing import Timing
from safelight.imaging.pool import RenderPool
from safelight.settings import Settings
from safelight.storage.local import LocalBlobStore
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import Receipt, Staging
from safelight.wiring.parts import catalog_of, fetch_of, timing_of
from tests.engine.test_claim import register, take
from tests.orders import image, order

LONG_LEASE_SECONDS = 15.0


def patient(settings: Settings) -> Timing:
    """A lease that no slow machine outlasts: a worker falls silent only when a test says so."""
    return replace(timing_of(settings), lease_seconds=LONG_LEASE_SECONDS)


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
    return buffer.getvalue()


def staging_of(settings: Settings) -> Staging:
    return LocalStaging(settings.home / "staging")


@asynccontextmanager
async def pipeline_of(settings: Settings, pool: asyncpg.Pool, worker_id: WorkerId) -> AsyncIterator[AttemptPipeline]:
    catalog = catalog_of(settings)
    renderer = RenderPool()
    writes = Writes(pool, worker_id=worker_id, timing=patient(settings))
    try:
        yield AttemptPipeline(
            pool=pool,
            worker_id=worker_id,
            writes=writes,
            providers={name: each.provider for name, each in catalog.providers.items()},
            keeper=Keeper(
                pool=pool,
                writes=writes,
                staging=staging_of(settings),
                blobs=LocalBlobStore(settings.blobs),
                renderer=renderer,
                timing=patient(settings),
                failpoints=Failpoints(),
            ),
            addresses=Addresses(
                pool=pool,
                blobs=LocalBlobStore(settings.blobs),
                renderer=renderer,
                fetch=fetch_of(settings),
                retry_unit_seconds=settings.retry_unit_seconds,
            ),
            timing=patient(settings),
            failpoints=Failpoints(),
            draining=asyncio.Event(),
        )
    finally:
        await renderer.aclose()
        for each in catalog.providers.values():
            await each.provider.aclose()


async def admitted_one(pool: asyncpg.Pool, queue: asyncpg.Pool, image: ImageOrder, **job: object) -> tuple[JobId, Hint]:
    """A job of one image, handed to dispatch. Some worker has to be registered."""
    accepted = await submit(pool, order(image, **job), run_limit_seconds=3600)  # pyright: ignore[reportArgumentType]
    return accepted.job_id, await admit_again(pool, queue)


async def admit_again(pool: asyncpg.Pool, queue: asyncpg.Pool) -> Hint:
    """The hint of the one image that is admitted now; a worker that lives and has room is provided."""
    await register(pool)
    assert await admit(queue, max_concurrency={"placeholder": 8, "gemini": 8}, lease_seconds=LONG_LEASE_SECONDS) == 1
    row = await pool.fetchrow("SELECT row_id, generation, queue_row_id FROM images WHERE admitted_at IS NOT NULL")
    assert row is not None
    return Hint(queue_row_id=row["queue_row_id"], row_id=ImageRowId(row["row_id"]), generation=row["generation"])


async def run(pipeline: AttemptPipeline, hint: Hint) -> None:
    """What a worker does with a hint."""
    lease = await pipeline.claim(hint)
    if lease is not None:
        await pipeline.work(lease)


async def pass_time(pool: asyncpg.Pool, seconds: float) -> None:
    """The database's clock goes on; every worker that does not beat falls silent after its lease."""
    await pool.execute("UPDATE installation SET clock_shift = clock_shift + make_interval(secs => $1)", seconds)


def receipt_of(lease: Lease, attempt_id: str, data: bytes, *, cost_microusd: int = 33_600) -> Receipt:
    return Receipt(
        attempt_id=attempt_id,
        image_row_id=lease.row_id,
        job_id=lease.job_id,
        sha256=hashlib.sha256(data).hexdigest(),
        length=len(data),
        claimed_mime="image/png",
        cost_microusd=cost_microusd,
        cost_basis=CostBasis.USAGE,
        price_ref="test",
        request_id=None,
        model_version=None,
        received_at=datetime.now(UTC).isoformat(),
    )


async def swept(settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool) -> Findings:
    found = await sweep(pool, queue, staging_of(settings), timing=patient(settings))
    assert found is not None
    return found


async def lost_lease(pool: asyncpg.Pool, queue: asyncpg.Pool) -> tuple[JobId, Lease]:
    """What the first of two workers still holds of the only image of a job, which the second has claimed by now."""
    first, second = await register(pool), await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    stale = await take(pool, hint, first)
    assert stale is not None
    assert await take(pool, hint, second) is not None
    return job_id, stale
