"""Workers on hosts that share a database and a bucket, and no folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.submit import submit
from safelight.sandbox.server import RunningSandbox
from safelight.storage.staging import Staging
from safelight.storage.stores import Stores, open_stores
from tests.crash.conftest import MODEL, TIMEOUT_SECONDS, Fleet
from tests.fork_server import Process
from tests.orders import attempts_of, ended, image, order, until
from tests.s3 import Request, Silence, Trouble, new_bucket, place_in, trouble_before


class BucketFleet(Fleet):
    """`trouble` lies between its workers and the bucket; the test's own eyes look past it."""

    stores: Stores
    trouble: Trouble

    @property
    def staging(self) -> Staging:
        return self.stores.staging

    async def stored(self, key: str) -> bytes:
        return await self.stores.blobs.get(key)

    async def start_on(self, host: str, failpoint: str | None = None) -> Process:
        home = self.home / host
        home.mkdir(exist_ok=True)
        return await self.start(failpoint, home=home)


@pytest.fixture
async def hosts(
    database: str, pool: asyncpg.Pool, queue: asyncpg.Pool, sandbox: RunningSandbox, tmp_path: Path, s3: str
) -> AsyncIterator[BucketFleet]:
    bucket = new_bucket(s3)
    async with trouble_before(s3) as trouble:
        fleet = BucketFleet(database=database, home=tmp_path, sandbox=sandbox, pool=pool, queue=queue)
        fleet.trouble = trouble
        fleet.stores = open_stores(place_in(s3, bucket), staging_folder=tmp_path / "eyes")
        fleet.more = {
            "SAFELIGHT_STORAGE_URL": f"s3://{bucket}/pictures",
            "SAFELIGHT_STORAGE__ENDPOINT": trouble.url,
            "SAFELIGHT_STORAGE__TIMEOUT_SECONDS": "10",
        }
        yield fleet
        for process in fleet.processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        fleet.stores.close()


async def test_what_a_killed_worker_had_staged_is_finished_on_another_host_and_not_bought_again(
    hosts: BucketFleet,
) -> None:
    doomed = await hosts.start_on("a", "staged:kill@1")
    one = image("a", provider="gemini", model=MODEL, timeout_seconds=TIMEOUT_SECONDS)
    accepted = await submit(hosts.pool, order(one), run_limit_seconds=3600)
    await hosts.killed(doomed)
    [receipt] = await hosts.staging.pending()
    await hosts.start_on("b")
    assert await ended(hosts.pool, accepted.job_id) is JobStatus.COMPLETED
    await hosts.at_rest(accepted.job_id)
    [attempt] = await attempts_of(hosts.pool, accepted.job_id)
    assert (attempt["id"], attempt["status"]) == (receipt.attempt_id, "settled")
    assert hosts.sandbox.vendor.bill.charged_calls == 1
    assert not (hosts.home / "b" / "blobs").exists()


@pytest.mark.slow
async def test_a_picture_that_only_a_dead_host_holds_is_waited_for_and_not_bought_again(hosts: BucketFleet) -> None:
    first = await hosts.start_on("a")
    hosts.trouble.go_away()
    one = image("a", provider="gemini", model=MODEL, timeout_seconds=TIMEOUT_SECONDS)
    accepted = await submit(hosts.pool, order(one), run_limit_seconds=3600)
    await until(hosts.pool, "SELECT status = 'received' AND stranded_in IS NOT NULL FROM attempts")
    first.kill()
    await first.wait()
    hosts.trouble.come_back()
    await hosts.start_on("b")
    seen = await hosts.pool.fetchval("SELECT failures FROM images")
    await until(hosts.pool, "SELECT failures > $1 + 1 AND status = 'queued' FROM images", seen)
    assert len(await attempts_of(hosts.pool, accepted.job_id)) == 1
    await hosts.start_on("a")
    assert await ended(hosts.pool, accepted.job_id) is JobStatus.COMPLETED
    await hosts.at_rest(accepted.job_id)
    assert hosts.sandbox.vendor.bill.charged_calls == 1
    assert await hosts.pool.fetchval("SELECT count(*) FROM attempts WHERE stranded_in IS NOT NULL") == 0


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["nothing of it has arrived", "all is stored"])
async def test_a_kill_during_the_upload_leaves_one_picture_whole_and_no_orphan(moment: str, hosts: BucketFleet) -> None:
    """The staged bytes are in the bucket; it is the picture's own object that is being put, or was just put."""
    is_stored, begun = moment == "all is stored", asyncio.Event()

    def silent_upload(request: Request) -> Silence | None:
        if request.method != "PUT" or not request.path.endswith(".jpg"):
            return None
        begun.set()
        return Silence()

    first = await hosts.start_on("a", "uploaded:kill@1" if is_stored else None)
    if not is_stored:
        hosts.trouble.fault = silent_upload
    one = image("a", provider="gemini", model=MODEL, timeout_seconds=60)
    accepted = await submit(hosts.pool, order(one), run_limit_seconds=3600)
    if is_stored:
        await hosts.killed(first)
    else:
        async with asyncio.timeout(20):
            await begun.wait()
        first.kill()
        await first.wait()
    hosts.trouble.come_back()
    await hosts.start_on("b")

    assert await ended(hosts.pool, accepted.job_id) is JobStatus.COMPLETED
    await hosts.at_rest(accepted.job_id)
    assert [a["status"] for a in await attempts_of(hosts.pool, accepted.job_id)] == ["settled"]
    assert hosts.sandbox.vendor.bill.charged_calls == 1
    named = {row["key"] for row in await hosts.pool.fetch("SELECT key FROM renditions")}
    # The server tells times to the nearest second, which may not have come yet.
    stored = {each.key async for some in hosts.stores.blobs.keys(older_than_seconds=-1) for each in some}
    assert stored == named, "nothing else is left in the bucket"
