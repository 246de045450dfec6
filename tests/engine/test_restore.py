"""The database came out of a backup: what was bought since then is recovered or told, and nothing is bought unasked."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

import asyncpg
from PIL import Image

from safelight.domain.lifecycle import JobStatus
from safelight.domain.money import CostBasis
from safelight.engine.orders.submit import submit
from safelight.engine.pause import pause, paused, resume
from safelight.engine.queue.worker import Worker
from safelight.sandbox.server import RunningSandbox
from safelight.settings import Settings
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import Receipt
from safelight.wiring.parts import take_stock
from tests.orders import attempts_of, ended, images_of, order, until, vendor_image

Start = Callable[[], AbstractAsyncContextManager[Worker]]


async def back_to_the_backup(pool: asyncpg.Pool) -> None:
    """The database as it was right after the submit."""
    await pool.execute("TRUNCATE renditions, attempts, pgqueuer")
    await pool.execute("DELETE FROM events WHERE seq > 1")
    await pool.execute("UPDATE jobs SET status = 'pending', seq = 1, started_at = NULL, completed_at = NULL")
    await pool.execute(
        "UPDATE images SET status = 'queued', attempt_count = 0, claim_token = NULL, worker_id = NULL,"
        " queue_row_id = NULL, admitted_at = NULL, furthest_stage = 0, started_at = NULL, completed_at = NULL,"
        " not_before = safelight.now()"
    )


async def as_if_never_settled(pool: asyncpg.Pool, settings: Settings, image_id: str) -> None:
    """The image's picture lies staged, as when its worker died right before it was stored."""
    row = await pool.fetchrow(
        "SELECT a.*, i.job_id FROM attempts AS a JOIN images AS i ON i.row_id = a.image_row_id WHERE i.id = $1",
        image_id,
    )
    assert row is not None
    for path in settings.blobs.rglob(f"{image_id}.*"):
        path.unlink()
    file = io.BytesIO()
    Image.new("RGB", (80, 60), "maroon").save(file, "PNG")
    receipt = Receipt(
        attempt_id=row["id"],
        image_row_id=row["image_row_id"],
        job_id=row["job_id"],
        sha256=hashlib.sha256(file.getvalue()).hexdigest(),
        length=len(file.getvalue()),
        claimed_mime="image/png",
        cost_microusd=row["cost_microusd"],
        cost_basis=CostBasis(row["cost_basis"]),
        price_ref=row["price_ref"],
        usage=row["usage"],
        request_id=row["request_id"],
        model_version=None,
        received_at=datetime.now(UTC).isoformat(),
        fingerprint=row["fingerprint"],
    )
    await LocalStaging(settings.home / "staging").stage(receipt, file.getvalue())


async def test_staged_pictures_are_recovered_stored_ones_are_told_and_nothing_is_bought_before_resuming(
    pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox, start_worker: Start
) -> None:
    accepted = await submit(pool, order(*(vendor_image(n) for n in ("stored", "staged"))), run_limit_seconds=3600)
    async with start_worker() as worker:
        await ended(pool, accepted.job_id)
        del worker
    await as_if_never_settled(pool, settings, "staged")
    await back_to_the_backup(pool)

    assert settings.database_url is not None
    found = await take_stock(settings, settings.database_url)
    assert found.recovered == 1
    assert [(each.image_id, each.has_picture) for each in found.open_images] == [("stored", True)]
    assert await paused(pool) is not None

    async with start_worker():
        await until(pool, "SELECT status = 'completed' FROM images WHERE id = 'staged'")
        assert len(sandbox.vendor.calls) == 2, "nothing was bought while paused"
        await resume(pool)
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED
    assert len(sandbox.vendor.calls) == 3, "the one that was told would be bought again"
    assert {row["status"] for row in await images_of(pool, accepted.job_id)} == {"completed"}


async def test_while_buying_is_paused_no_attempt_is_made(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    await pause(pool, reason="a test")
    accepted = await submit(pool, order(vendor_image("a")), run_limit_seconds=3600)
    async with start_worker():
        await until(pool, "SELECT count(*) = 1 FROM workers WHERE heartbeat_at > started_at")
        assert await attempts_of(pool, accepted.job_id) == []
        await resume(pool)
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED
    assert len(sandbox.vendor.calls) == 1


async def test_a_picture_that_was_received_before_the_backup_and_finished_since_may_be_bought_again_and_is_told(
    pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox, start_worker: Start
) -> None:
    accepted = await submit(pool, order(vendor_image("stored")), run_limit_seconds=3600)
    async with start_worker():
        await ended(pool, accepted.job_id)
    await pool.execute("TRUNCATE renditions, pgqueuer")
    await pool.execute("UPDATE attempts SET status = 'received', ended_at = NULL")
    await pool.execute("UPDATE jobs SET status = 'generating', completed_at = NULL")
    await pool.execute(
        "UPDATE images SET status = 'uploading', completed_at = NULL, claim_token = gen_random_uuid(),"
        " worker_id = gen_random_uuid()"
    )

    assert settings.database_url is not None
    found = await take_stock(settings, settings.database_url)

    assert [(each.image_id, each.has_picture) for each in found.open_images] == [("stored", True)]
