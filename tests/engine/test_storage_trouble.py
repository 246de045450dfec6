"""A store that refuses a paid picture costs time; it never costs a second purchase."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg

from safelight.domain.lifecycle import JobStatus
from safelight.engine.image.keep import RENDER_TRIES
from safelight.engine.orders.submit import submit
from safelight.engine.queue.worker import Worker
from safelight.imaging.pool import RenderPool
from safelight.sandbox.server import RunningSandbox
from safelight.settings import Settings
from tests.engine.by_hand import admit_again, admitted_one, pass_time, pipeline_of, run
from tests.engine.test_claim import register
from tests.orders import attempts_of, ended, image, images_of, order, until, vendor_image

Start = Callable[[], AbstractAsyncContextManager[Worker]]


async def test_a_paid_picture_waits_for_its_store_for_as_long_as_its_run_lasts(
    pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox, start_worker: Start
) -> None:
    """Two vendor failures before it take nothing from its patience."""
    accepted = await submit(pool, order(vendor_image("a", "500 x2")), run_limit_seconds=3600)
    settings.blobs.mkdir(parents=True, exist_ok=True)
    parts = settings.blobs / ".safelight-parts"
    async with start_worker():
        parts.rmdir() if parts.is_dir() else None
        parts.write_text("a file where the store wants a folder")
        await until(pool, "SELECT failures >= 4 AND status = 'queued' FROM images")
        assert [a["status"] for a in await attempts_of(pool, accepted.job_id)] == ["unbilled", "unbilled", "received"]
        parts.unlink()
        parts.mkdir()
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED
    assert len(sandbox.vendor.calls) == 3
    [row] = await images_of(pool, accepted.job_id)
    assert row["attempt_count"] == 3


async def test_what_a_vendor_failed_before_takes_nothing_from_a_pictures_tries_at_being_rendered(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("a"))
    await pool.execute("UPDATE images SET failures = $1", RENDER_TRIES)
    async with pipeline_of(settings, pool, worker) as pipeline:
        pipeline.keeper.renderer = RenderPool(timeout_seconds=0.001)
        for tries in range(1, RENDER_TRIES):
            await run(pipeline, hint)
            [row] = await images_of(pool, job_id)
            assert (row["status"], row["failures"]) == ("queued", tries)
            await pass_time(pool, 1)
            hint = await admit_again(pool, queue)
        await run(pipeline, hint)
    [row] = await images_of(pool, job_id)
    assert (row["status"], row["error"]["kind"]) == ("failed", "STORAGE")
    assert [a["status"] for a in await attempts_of(pool, job_id)] == ["received"]
