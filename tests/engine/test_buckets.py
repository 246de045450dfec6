"""A worker whose pictures go to a bucket that has its bad days; nothing is bought twice for that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from safelight.cli.doctor import checkup
from safelight.domain.checkup import Verdict
from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.submit import submit
from safelight.engine.queue.worker import StoreMismatch
from safelight.engine.upkeep.retention import delete_orphans
from safelight.sandbox.server import RunningSandbox
from safelight.settings import Settings, StorageSettings
from safelight.wiring.parts import stores_of, take_stock
from tests.engine.by_hand import pass_time
from tests.engine.conftest import running
from tests.orders import attempts_of, ended, order, until, vendor_image
from tests.receipts import BYTES, receipt_for
from tests.s3 import Answer, Trouble, new_bucket, trouble_before


@pytest.fixture
async def trouble(s3: str) -> AsyncIterator[Trouble]:
    async with trouble_before(s3) as trouble:
        yield trouble


@pytest.fixture
def settings(settings: Settings, trouble: Trouble, tmp_path: Path) -> Settings:
    """Of this host; the bucket is another one in each test."""
    return settings.model_copy(
        update={
            "storage_url": f"s3://{new_bucket(trouble.upstream)}/pictures",
            "storage": StorageSettings(endpoint=trouble.url, timeout_seconds=10),
            "home": tmp_path / "host",
        }
    )


async def test_pictures_go_to_the_bucket_and_nothing_stays_on_this_host(
    pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox
) -> None:
    async with running(settings):
        accepted = await submit(pool, order(vendor_image("a"), vendor_image("b")), run_limit_seconds=3600)
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED
    stores = stores_of(settings)
    for row in await pool.fetch("SELECT * FROM renditions"):
        found = await stores.blobs.head(row["key"])
        assert found is not None
        assert (found.length, found.sha256) == (row["length"], row["sha256"])
    assert await stores.staging.pending() == []
    assert not (settings.home / "blobs").exists()
    assert {path.name for path in (settings.home / "staging").iterdir()} <= {".safelight-staging"}


async def test_a_picture_that_comes_while_the_bucket_is_away_waits_on_this_host_and_is_delivered_later(
    pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox, trouble: Trouble
) -> None:
    async with running(settings):
        trouble.go_away()
        accepted = await submit(pool, order(vendor_image("a")), run_limit_seconds=3600)
        await until(pool, "SELECT failures >= 3 AND status = 'queued' FROM images")
        [attempt] = await attempts_of(pool, accepted.job_id)
        assert attempt["status"] == "received"
        assert attempt["stranded_in"] == (settings.home / "staging" / ".safelight-staging").read_text()
        trouble.come_back()
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED
    assert len(sandbox.vendor.calls) == 1
    assert {path.name for path in (settings.home / "staging").iterdir()} == {".safelight-staging"}


@pytest.mark.slow
async def test_a_picture_whose_bucket_takes_only_what_is_staged_waits_for_it(
    pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox, trouble: Trouble
) -> None:
    refusal = Answer(status=403, body=b"<Error><Code>AccessDenied</Code></Error>")
    async with running(settings):
        trouble.fault = lambda each: refusal if each.method == "PUT" and "/_staging/" not in each.path else None
        accepted = await submit(pool, order(vendor_image("a")), run_limit_seconds=3600)
        await until(pool, "SELECT failures >= 3 AND status = 'queued' FROM images")
        trouble.come_back()
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED
    assert len(sandbox.vendor.calls) == 1
    assert [row["status"] for row in await attempts_of(pool, accepted.job_id)] == ["settled"]


async def test_nothing_is_bought_for_an_image_of_unknown_outcome_while_nobody_can_say_what_is_staged(
    pool: asyncpg.Pool, settings: Settings, sandbox: RunningSandbox, trouble: Trouble
) -> None:
    async with running(settings):
        accepted = await submit(pool, order(vendor_image("a", "reset x1")), run_limit_seconds=3600)
        trouble.go_away()
        await until(pool, "SELECT failures >= 2 AND status = 'queued' FROM images")
        assert len(await attempts_of(pool, accepted.job_id)) == 1
        trouble.come_back()
        await ended(pool, accepted.job_id)
    assert len(sandbox.vendor.calls) == 2


async def test_a_worker_with_another_bucket_does_not_start(pool: asyncpg.Pool, settings: Settings, s3: str) -> None:
    async with running(settings):
        pass
    other = settings.model_copy(update={"storage_url": f"s3://{new_bucket(s3)}/pictures"})
    with pytest.raises(StoreMismatch):
        async with running(other):
            pass


async def test_after_a_restore_the_bucket_is_asked_which_open_images_have_their_picture(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    async with running(settings):
        first = await submit(pool, order(vendor_image("a")), run_limit_seconds=3600)
        await ended(pool, first.job_id)
    await pool.execute("TRUNCATE renditions, attempts")
    await pool.execute("UPDATE jobs SET status = 'pending', completed_at = NULL")
    await pool.execute("UPDATE images SET status = 'queued', completed_at = NULL, admitted_at = NULL")
    await submit(pool, order(vendor_image("b")), run_limit_seconds=3600)
    assert settings.database_url is not None
    found = await take_stock(settings, settings.database_url)
    assert {each.image_id: each.has_picture for each in found.open_images} == {"a": True, "b": False}


async def test_an_object_that_nothing_names_is_deleted_and_one_that_is_named_is_not(
    pool: asyncpg.Pool, settings: Settings
) -> None:
    async with running(settings):
        accepted = await submit(pool, order(vendor_image("a")), run_limit_seconds=3600)
        await ended(pool, accepted.job_id)
    stores = stores_of(settings)
    [key] = [row["key"] for row in await pool.fetch("SELECT key FROM renditions")]
    orphan = key.replace(".jpg", "").rpartition("-")[0] + f"-{key.rpartition('-')[2][:8]}deadbeef.jpg"
    await stores.blobs.put(orphan, b"nobody's", content_type="image/jpeg")
    for table in ("jobs", "images"):
        await pool.execute(f"UPDATE {table} SET completed_at = completed_at - interval '3 days'")
    await pass_time(pool, 3600)
    walked = await delete_orphans(pool, stores.blobs, older_than_seconds=-60)
    assert walked is not None
    assert (walked.blobs, walked.deleted) == (2, 1)
    assert await stores.blobs.head(orphan) is None
    assert await stores.blobs.head(key) is not None


async def test_the_doctor_tries_the_bucket_and_tells_what_lies_on_this_host_only(
    pool: asyncpg.Pool, settings: Settings, trouble: Trouble
) -> None:
    async with running(settings):
        pass
    stores = stores_of(settings)
    trouble.go_away()
    await stores.staging.stage(receipt_for(), BYTES)
    away = {check.name: check for check in await checkup(settings) if check.area == "storage"}
    assert away["bucket"].verdict is Verdict.PROBLEM
    trouble.come_back()
    back = {check.name: check.verdict for check in await checkup(settings) if check.area == "storage"}
    assert (back["bucket"], back["stranded"]) == (Verdict.OK, Verdict.WARNING)
    assert (await stores.staging.bring_back()).moved == ("att_1",)
