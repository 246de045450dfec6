"""The way of one image when nothing goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg
import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.submit import submit
from safelight.engine.queue.worker import StoreMismatch, Worker
from safelight.settings import Settings
from safelight.wiring.worker import worker_of
from tests.orders import attempts_of, ended, event_types, image, images_of, order

Start = Callable[[], AbstractAsyncContextManager[Worker]]


async def test_every_image_of_a_job_is_generated_stored_and_settled(
    pool: asyncpg.Pool, settings: Settings, start_worker: Start
) -> None:
    accepted = await submit(pool, order(*(image(f"img-{n}") for n in range(5))), run_limit_seconds=3600)
    async with start_worker():
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED

    images = await images_of(pool, accepted.job_id)
    assert {row["status"] for row in images} == {"completed"}
    attempts = await attempts_of(pool, accepted.job_id)
    assert [row["status"] for row in attempts] == ["settled"] * 5
    assert {row["cost_microusd"] for row in attempts} == {0}
    renditions = await pool.fetch("SELECT * FROM renditions")
    for row in renditions:
        blob = settings.blobs / row["key"]
        assert blob.stat().st_size == row["length"]
    assert len(renditions) == 5
    assert [path.name for path in (settings.home / "staging").iterdir()] == [".safelight-staging"]
    assert await pool.fetchval("SELECT count(*) FROM pgqueuer") == 0
    assert await pool.fetchval("SELECT count(*) FROM workers") == 0
    types = await event_types(pool, accepted.job_id)
    assert types[0] == "job.created"
    assert types[-1] == "job.completed"
    assert sorted(types) == sorted(
        ["job.created", "job.started", "job.completed", *["image.started", "image.received", "image.completed"] * 5]
    )


async def test_a_worker_that_does_not_share_the_staging_folder_refuses_to_start(
    settings: Settings, start_worker: Start, tmp_path: Path
) -> None:
    async with start_worker():
        pass
    elsewhere = settings.model_copy(update={"home": tmp_path / "elsewhere", "storage_url": f"file://{settings.blobs}"})
    assert settings.database_url is not None
    with pytest.raises(StoreMismatch):
        async with worker_of(elsewhere, settings.database_url):
            pass
