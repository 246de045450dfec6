"""Jobs at a vendor beside what else happens: other workers, another prompt, a long wait, a database that is gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest
from structlog.testing import capture_logs

from safelight.db.pool import close_pool, open_pool
from safelight.domain.fallback import Target
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import ImageStatus, JobStatus
from safelight.engine.failpoints import Failpoints
from safelight.engine.image import provider_book, remote, settle
from safelight.engine.image.attempt import CRASH_LIMIT
from safelight.engine.image.keep import WRITE_TRIES
from safelight.engine.image.lease import Lease
from safelight.engine.image.outcome import crashed
from safelight.engine.image.remote import RemoteJobs
from safelight.engine.orders import control
from safelight.engine.orders.control import CancelMode
from safelight.providers.placeholder import PlaceholderProvider
from safelight.providers.provider import (
    ImageRequest,
    ImageResult,
    Refusal,
    RemoteCancellation,
    RemoteHandle,
    StillRunning,
)
from safelight.providers.registry import ProviderConfig
from safelight.sandbox.faults import parse_directive
from safelight.sandbox.server import RunningSandbox
from safelight.settings import Settings
from safelight.wiring.parts import fetch_of
from tests.crash.proxy import proxy_to
from tests.engine.by_hand import admit_again, admitted_one, pass_time, pipeline_of, run, swept
from tests.engine.conftest import running
from tests.engine.test_claim import fall_silent, register, take
from tests.engine.test_gates_and_slow_calls import REPORT_WAITS
from tests.engine.test_remote_jobs import (
    MODELS,
    at_the_vendor,
    history,
    remote_image,
    requests_sent,
    settings,
    submitted,
)
from tests.orders import attempts_of, ended, image, images_of, until

__all__ = ["settings"]  # the fixture of the jobs that are not left

LOOKED_AT_AND_LEFT = "SELECT generation > 1 AND status = 'queued' AND admitted_at IS NULL FROM images"


async def held_at_a_vendor(settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool) -> tuple[JobId, Lease]:
    """An image whose job the vendor has taken, and whose worker has not moved on."""
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    lease = await take(pool, hint, worker)
    assert lease is not None
    async with pipeline_of(settings, pool, worker) as pipeline:
        sent = await pipeline.commit(lease)
    assert sent is not None
    await provider_book.keep_handle(pool, sent.id, RemoteHandle(remote_id="job-1"))
    return job_id, lease.moved(ImageStatus.GENERATING)


def without(settings: Settings, vendor: str) -> Settings:
    others = {name: each for name, each in settings.providers.items() if name != vendor}
    return settings.model_copy(update={"providers": others})


async def test_a_worker_that_does_not_know_the_vendor_gives_no_job_up(
    settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    """The finish lane brings every worker's jobs to any worker; so it does after a provider was removed by mistake."""
    sandbox.vendor.hold()
    job_id = await submitted(pool, remote_image("replicate"))
    async with running(settings):
        await at_the_vendor(pool)
    async with running(without(settings, "replicate")):
        await until(pool, LOOKED_AT_AND_LEFT)

    sandbox.vendor.release()
    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    assert (await history(pool, job_id), requests_sent(sandbox)) == (["settled"], 1)


async def test_a_cancel_ends_an_image_whose_provider_was_removed(
    settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    sandbox.vendor.hold()
    job_id = await submitted(pool, remote_image("replicate"))
    async with running(settings):
        await at_the_vendor(pool)
    async with running(without(settings, "replicate")):
        await control.cancel(pool, job_id, account="default", mode=CancelMode.FINISH)
        assert await ended(pool, job_id) is JobStatus.CANCELED

    assert await history(pool, job_id) == ["unknown"]


@pytest.mark.parametrize(("script", "first"), [("", "received"), ("nsfw", "refused")])
async def test_what_becomes_of_another_prompts_job_says_nothing_of_the_image(
    script: str, first: str, settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool, sandbox: RunningSandbox
):
    """The image crashed while its job ran on, and is retried with another prompt before the sweep has come by."""
    sandbox.vendor.hold()
    job_id = await submitted(pool, remote_image("fal", script))
    async with running(settings):
        await at_the_vendor(pool)
    # The worker that left may have admitted it once more before it was gone, and it may have a moment to wait.
    due = "not_before = safelight.now(), admitted_at = NULL, queue_row_id = NULL"
    await pool.execute(f"UPDATE images SET crash_count = $1, {due}", CRASH_LIMIT)
    async with pipeline_of(settings, pool, await register(pool)) as pipeline:
        await run(pipeline, await admit_again(pool, queue))
    [crashed] = await images_of(pool, job_id)
    assert (crashed["status"], await history(pool, job_id)) == ("failed", ["submitted"])

    await control.retry(pool, job_id, account="default", prompts={"a": "A silver key"}, run_limit_seconds=3600)
    sandbox.vendor.release()
    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    assert (await history(pool, job_id), requests_sent(sandbox)) == ([first, "settled"], 2)
    assert sum(row["cost_microusd"] for row in await attempts_of(pool, job_id)) == sandbox.vendor.bill.total_microusd


async def test_what_becomes_of_another_vendors_job_ends_no_image_that_begins_anew(
    settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    """The second vendor of the chain was still at it when the run ended, and refuses then; the first is asked again."""
    prompt = "A brass key [[sandbox replicate: error-detail 422 x1]] [[sandbox fal: refuse]]"
    spare = Target(provider="fal", model=MODELS["fal"], options={}, timeout_seconds=20.0, estimate_microusd=25_000)
    sandbox.vendor.hold()
    job_id = await submitted(pool, replace(remote_image("replicate"), prompt=prompt, fallbacks=(spare,)))
    async with running(settings):
        await at_the_vendor(pool)
        sandbox.vendor.set_outage("fal", parse_directive("503"))
        await pass_time(pool, 7200)
        assert await ended(pool, job_id) is JobStatus.FAILED
    assert await history(pool, job_id) == ["unbilled", "unknown"]

    sandbox.vendor.set_outage("fal", None)
    sandbox.vendor.release()
    assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 0, timeout_seconds=20)
    await control.retry(pool, job_id, account="default", run_limit_seconds=3600)
    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    asked = [(row["provider"], row["status"]) for row in await attempts_of(pool, job_id)]
    assert asked == [("replicate", "unbilled"), ("fal", "refused"), ("replicate", "settled")]


@pytest.mark.parametrize(("wait_seconds", "timeout_seconds"), [(3600, 10.0), (60, 180.0)])
async def test_a_vendor_that_asks_for_patience_holds_neither_a_slot_nor_a_cancel(
    wait_seconds: int, timeout_seconds: float, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    script = f"queued 600; poll 429 {wait_seconds} x1"
    job_id = await submitted(pool, remote_image("replicate", script, timeout_seconds=timeout_seconds))

    async with running(settings):
        waits = (
            "SELECT status = 'queued' AND not_before > safelight.now() + make_interval(secs => $1 / 2.0) FROM images"
        )
        await until(pool, waits, wait_seconds)
        await control.cancel(pool, job_id, account="default", mode=CancelMode.FINISH)
        assert await ended(pool, job_id) is JobStatus.CANCELED


async def test_a_handle_outlasts_a_database_that_is_gone(
    settings: Settings, database: str, pool: asyncpg.Pool, queue: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
):
    """It lies nowhere but in memory; without it the job is paid for and lost."""
    monkeypatch.setattr(remote, "_HANDLE_PAUSE_SECONDS", 0.02)
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    lease = await take(pool, hint, worker)
    assert lease is not None
    async with proxy_to(database) as proxy, pipeline_of(settings, pool, worker) as pipeline:
        sent = await pipeline.commit(lease)
        assert sent is not None
        shaky = await open_pool(proxy.dsn, min_size=1, max_size=2, application_name="tests shaky")
        keeper = pipeline.keeper
        keeper.pool = shaky
        jobs = RemoteJobs(
            pool=shaky,
            providers={},
            keeper=keeper,
            timing=pipeline.timing,
            failpoints=Failpoints(),
            draining=asyncio.Event(),
        )
        proxy.vanish()
        with capture_logs() as logs:
            begun = asyncio.create_task(
                jobs.begin(lease.moved(ImageStatus.GENERATING), sent.id, RemoteHandle(remote_id="job-1"))
            )
            async with asyncio.timeout(30):
                while not begun.done() and sum("handle cannot be kept" in log["event"] for log in logs) <= WRITE_TRIES:
                    await asyncio.wait((begun,), timeout=0.01)
        proxy.come_back()
        await asyncio.wait((begun,))
        begun.exception()
        await close_pool(shaky)

    [attempt] = await attempts_of(pool, job_id)
    assert attempt["remote"] == {"remote_id": "job-1", "urls": {}}


class Breaking(PlaceholderProvider):
    """A plug-in with a bug that shows only when it is asked after a job, or is to stop one."""

    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        raise KeyError("status")

    async def cancel(self, handle: RemoteHandle) -> RemoteCancellation:
        raise KeyError("status")


async def follow_with_a_broken_plugin(settings: Settings, pool: asyncpg.Pool, lease: Lease) -> None:
    async with pipeline_of(settings, pool, await register(pool)) as pipeline:
        broken = Breaking.from_config("broken", ProviderConfig(fetch=fetch_of(settings)))
        jobs = RemoteJobs(
            pool=pool,
            providers={lease.provider: broken},
            keeper=pipeline.keeper,
            timing=replace(pipeline.timing, poll_seconds=0.05),
            failpoints=Failpoints(),
            draining=asyncio.Event(),
        )
        attempt_id = await pool.fetchval("SELECT id FROM attempts")
        await jobs.adopt(replace(lease, may_buy=False), attempt_id)


async def test_a_plugin_that_breaks_when_it_is_asked_leaves_the_job_to_be_asked_after_again(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
):
    job_id, lease = await held_at_a_vendor(settings, pool, queue)

    await follow_with_a_broken_plugin(settings, pool, lease)

    [waiting] = await images_of(pool, job_id)
    assert (waiting["status"], waiting["failures"], await history(pool, job_id)) == ("queued", 1, ["submitted"])


async def test_a_plugin_that_breaks_when_it_is_to_stop_a_job_holds_no_cancel_up(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
):
    job_id, lease = await held_at_a_vendor(settings, pool, queue)
    await control.cancel(pool, job_id, account="default", mode=CancelMode.FINISH)

    await follow_with_a_broken_plugin(settings, pool, lease)

    assert (await history(pool, job_id), await ended(pool, job_id)) == (["unknown"], JobStatus.CANCELED)


async def test_a_job_that_is_to_be_stopped_is_not_put_off_by_the_look_that_just_ended(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
):
    """The caller canceled while the vendor was saying when it wants to be asked again."""
    job_id, lease = await held_at_a_vendor(settings, pool, queue)

    await control.cancel(pool, job_id, account="default", mode=CancelMode.FINISH)
    await settle.release(pool, lease, after_seconds=3600)

    assert await pool.fetchval("SELECT not_before <= safelight.now() + interval '1 s' FROM images")


async def test_a_retry_is_not_overtaken_by_the_sweep_that_gives_its_job_up(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
):
    """The sweep saw the image as it had ended. Were its job booked as lost after all, it would be bought again."""
    job_id, lease = await held_at_a_vendor(settings, pool, queue)
    await settle.end(pool, lease, ImageStatus.FAILED, crashed(CRASH_LIMIT))
    await pool.execute("CREATE TABLE doorstep ()")
    await pool.execute(
        "CREATE FUNCTION wait_at_the_door() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN LOCK TABLE safelight.doorstep; RETURN NULL; END $$"
    )
    await pool.execute(
        "CREATE TRIGGER wait_at_the_door BEFORE INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION wait_at_the_door()"
    )

    async with pool.acquire() as door:
        async with door.transaction():
            await door.execute("LOCK TABLE doorstep")
            retried = asyncio.create_task(control.retry(pool, job_id, account="default", run_limit_seconds=3600))
            await until(pool, "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted")
            found = await swept(settings, pool, queue)
        await retried

    [attempt] = await attempts_of(pool, job_id)
    assert (found.unknown, attempt["status"]) == (0, "submitted")


async def test_who_lost_the_image_while_stopping_its_job_neither_stops_it_nor_gives_it_up(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool, sandbox: RunningSandbox
):
    """Its next owner has ended it, and the caller has retried it: the job is asked after, or would be bought again."""
    sandbox.vendor.hold()
    job_id = await submitted(pool, remote_image("replicate"))
    async with running(settings):
        await at_the_vendor(pool)
    await control.cancel(pool, job_id, account="default", mode=CancelMode.FINISH)
    sandbox.vendor.set_outage("replicate", parse_directive("hang 1"))
    first, second = await register(pool), await register(pool)
    async with pipeline_of(settings, pool, first) as pipeline:
        hint = await admit_again(pool, queue)
        stale = await take(pool, hint, first)
        assert stale is not None
        stopping = asyncio.create_task(pipeline.work(stale))
        visits = sandbox.vendor.visits
        assert await sandbox.vendor.wait_until(lambda: visits[-1].path.endswith("/cancel"), timeout_seconds=20)
        await fall_silent(pool, first)
        lease = await take(pool, hint, second)
        assert lease is not None
        await settle.end_stopped(pool, lease, "cancel")
        await control.retry(pool, job_id, account="default", run_limit_seconds=3600)
        sandbox.vendor.set_outage("replicate", None)
        await stopping

    assert await history(pool, job_id) == ["submitted"]
    assert sandbox.vendor.in_flight == 1


async def test_the_sweep_takes_no_passing_page_for_the_picture_of_a_job_that_is_being_asked_after(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool, database: str, sandbox: RunningSandbox
):
    """It comes by between the staging of what was fetched and the look at it, in which another worker than that which
    bought the job finds that it is no picture."""
    sandbox.vendor.hold()
    job_id = await submitted(pool, remote_image("fal", "file html x1"))
    async with running(settings):
        await at_the_vendor(pool)
    sandbox.vendor.release()
    assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 0, timeout_seconds=20)
    await pool.execute("UPDATE images SET not_before = safelight.now(), admitted_at = NULL, queue_row_id = NULL")
    hint = await admit_again(pool, queue)
    other = await asyncpg.connect(database)
    async with pipeline_of(settings, pool, await register(pool)) as pipeline:
        holding = other.transaction()
        await holding.start()
        await other.execute("LOCK TABLE safelight.gates IN EXCLUSIVE MODE")
        working = asyncio.create_task(run(pipeline, hint))
        await until(pool, REPORT_WAITS)
        found = await swept(settings, pool, queue)
        await holding.rollback()
        await other.close()
        await working
    assert (found.receipts, found.leftovers) == (0, 0)

    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED
    assert (await history(pool, job_id), requests_sent(sandbox)) == (["settled"], 1)
