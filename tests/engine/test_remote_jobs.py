"""Jobs of the vendor's own: bought once, asked after until they end, taken over by whoever comes next."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg
import pytest
from pydantic import SecretStr

from safelight.domain.ids import JobId
from safelight.domain.lifecycle import JobStatus
from safelight.domain.order import ImageOrder
from safelight.engine.orders import control
from safelight.engine.orders.control import CancelMode
from safelight.engine.orders.submit import submit
from safelight.sandbox.faults import parse_directive
from safelight.sandbox.server import RunningSandbox
from safelight.settings import ProviderSettings, Settings
from tests.engine.by_hand import pass_time
from tests.engine.conftest import running
from tests.orders import attempts_of, ended, image, images_of, order, until

MODELS = {"replicate": "black-forest-labs/flux-schnell", "fal": "fal-ai/flux/dev"}
VENDORS = sorted(MODELS)


@pytest.fixture
async def settings(settings: Settings, sandbox: RunningSandbox) -> Settings:
    providers = {
        vendor: ProviderSettings(
            kind=vendor, base_url=sandbox.url(vendor), api_key=SecretStr("good-key"), max_concurrency=8
        )
        for vendor in VENDORS
    }
    changes = {
        "providers": providers,
        "egress_allow": "http://127.0.0.0/8:*",
        "poll_seconds": 0.05,
        "probe_seconds": 0.05,  # a vendor whose jobs fail in a row is paused
        "probe_max_seconds": 0.1,
    }
    return settings.model_copy(update=changes)


def remote_image(vendor: str, script: str = "", **rest: object) -> ImageOrder:
    directives = "".join(f" [[sandbox: {each.strip()}]]" for each in script.split(";") if each.strip())
    prompt = f"A brass key{directives}"
    return image("a", provider=vendor, model=MODELS[vendor], prompt=prompt, options={}, **rest)  # pyright: ignore[reportArgumentType]


async def submitted(pool: asyncpg.Pool, *images: ImageOrder, **rest: float) -> JobId:
    return (await submit(pool, order(*images, **rest), run_limit_seconds=3600)).job_id  # pyright: ignore[reportArgumentType]


async def history(pool: asyncpg.Pool, job_id: JobId) -> Sequence[str]:
    return [row["status"] for row in await attempts_of(pool, job_id)]


def requests_sent(sandbox: RunningSandbox) -> int:
    return len(sandbox.vendor.calls)


async def at_the_vendor(pool: asyncpg.Pool) -> None:
    await until(pool, "SELECT count(*) = 1 FROM attempts WHERE status = 'submitted'")


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_job_at_the_vendor_becomes_a_picture_and_its_price_is_the_vendors(
    vendor: str, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    job_id = await submitted(pool, remote_image(vendor))

    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    [attempt] = await attempts_of(pool, job_id)
    assert (attempt["status"], requests_sent(sandbox)) == ("settled", 1)
    assert attempt["cost_microusd"] == sandbox.vendor.bill.total_microusd > 0
    assert attempt["remote"]["remote_id"]
    assert "good-key" not in str(attempt["remote"])


@pytest.mark.parametrize("vendor", VENDORS)
async def test_looks_that_fail_buy_nothing(
    vendor: str, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    script = "poll 500 x1; poll cut x1; poll 429 x1; poll html x1"
    job_id = await submitted(pool, remote_image(vendor, script))

    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    assert (await history(pool, job_id), requests_sent(sandbox)) == (["settled"], 1)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_no_timeout_permits_another_purchase_once_a_handle_is_kept(
    vendor: str, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    sandbox.vendor.hold()
    job_id = await submitted(pool, remote_image(vendor, timeout_seconds=1.0))

    async with running(settings):
        await at_the_vendor(pool)
        await pass_time(pool, 600)  # far beyond the attempt's deadline and grace
        await until(pool, "SELECT count(*) = 1 FROM images WHERE lane = 'finish' AND status <> 'queued'")
        sandbox.vendor.release()
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    assert (await history(pool, job_id), requests_sent(sandbox)) == (["settled"], 1)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_worker_that_drains_hands_its_jobs_to_the_next_one(
    vendor: str, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    sandbox.vendor.hold()
    job_id = await submitted(pool, remote_image(vendor))
    async with running(settings):
        await at_the_vendor(pool)

    assert await history(pool, job_id) == ["submitted"]
    [waiting] = await images_of(pool, job_id)
    assert waiting["status"] == "queued"
    sandbox.vendor.release()
    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    assert (await history(pool, job_id), requests_sent(sandbox)) == (["settled"], 1)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_cancel_stops_the_job_at_the_vendor(
    vendor: str, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    job_id = await submitted(pool, remote_image(vendor, "queued 600"))

    async with running(settings):
        await at_the_vendor(pool)
        await control.cancel(pool, job_id, account="default", mode=CancelMode.FINISH)
        assert await ended(pool, job_id) is JobStatus.CANCELED

    [attempt] = await attempts_of(pool, job_id)
    assert attempt["status"] in ("unbilled", "unknown")
    assert sandbox.vendor.bill.total_microusd <= (attempt["cost_microusd"] or attempt["estimate_microusd"] or 0)
    assert requests_sent(sandbox) == 1


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_vendor_that_did_not_hear_of_a_cancel_is_told_again(
    vendor: str, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    """Else the job would be made, and paid for, after its caller was told that it is canceled."""
    job_id = await submitted(pool, remote_image(vendor, "queued 600"))

    async with running(settings):
        await at_the_vendor(pool)
        sandbox.vendor.set_outage(vendor, parse_directive("503"))
        await control.cancel(pool, job_id, account="default", mode=CancelMode.FINISH)
        visits = sandbox.vendor.visits
        assert await sandbox.vendor.wait_until(lambda: visits[-1].path.endswith("/cancel"), timeout_seconds=20)
        sandbox.vendor.set_outage(vendor, None)
        assert await ended(pool, job_id) is JobStatus.CANCELED

    assert sandbox.vendor.in_flight == 0


async def test_a_retry_asks_after_the_job_that_was_given_up_before_it_buys(
    settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    """The vendor could not be told to stop, and made the picture: it is paid for, and it is ours."""
    sandbox.vendor.hold()
    job_id = await submitted(pool, remote_image("replicate"))
    async with running(settings):
        await at_the_vendor(pool)
        sandbox.vendor.set_outage("replicate", parse_directive("503"))
        await pass_time(pool, 7200)  # the run is over
        assert await ended(pool, job_id) is JobStatus.FAILED
    assert await history(pool, job_id) == ["unknown"]

    sandbox.vendor.set_outage("replicate", None)
    sandbox.vendor.release()
    assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 0, timeout_seconds=20)
    await control.retry(pool, job_id, account="default", run_limit_seconds=3600)
    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    assert (await history(pool, job_id), requests_sent(sandbox)) == (["settled"], 1)


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize("script", ["html x2", "half-body x1", "no-body x1"])
async def test_what_comes_once_in_the_place_of_a_jobs_picture_buys_no_other(
    vendor: str, script: str, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    """The picture lies at the vendor, paid for."""
    job_id = await submitted(pool, remote_image(vendor, f"file {script}"))

    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    assert (await history(pool, job_id), requests_sent(sandbox)) == (["settled"], 1)
    [attempt] = await attempts_of(pool, job_id)
    assert attempt["cost_microusd"] == sandbox.vendor.bill.total_microusd


async def test_a_retry_buys_what_the_vendors_job_could_not_make(
    settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    """What that job cost nobody knows, but how it ended the vendor has said: asked again, it would say the same."""
    job_id = await submitted(pool, remote_image("fal", "failed FILE_DOWNLOAD_ERROR x1"))
    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.FAILED
        assert await history(pool, job_id) == ["unknown"]

        await control.retry(pool, job_id, account="default", run_limit_seconds=3600)
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    assert (await history(pool, job_id), requests_sent(sandbox)) == (["unknown", "settled"], 2)


@pytest.mark.parametrize(
    ("vendor", "script", "statuses", "end"),
    [
        ("replicate", "failed", ["unbilled"] * 2, "failed"),
        ("fal", "nsfw", ["refused"], "refused"),
        ("fal", "file 404", ["no_image"] * 3, "failed"),
        ("fal", "internal-url", ["no_image"] * 3, "failed"),
        ("fal", "garbage", ["no_image"] * 3, "failed"),
    ],
)
async def test_a_job_that_ends_badly_costs_no_more_than_its_attempts(
    vendor: str,
    script: str,
    statuses: list[str],
    end: str,
    settings: Settings,
    pool: asyncpg.Pool,
    sandbox: RunningSandbox,
):
    job_id = await submitted(pool, remote_image(vendor, script))

    async with running(settings):
        await ended(pool, job_id)

    [row] = await images_of(pool, job_id)
    attempts = await attempts_of(pool, job_id)
    assert row["status"] == end
    assert [attempt["status"] for attempt in attempts] == statuses
    assert requests_sent(sandbox) == len(attempts)
    assert sum(attempt["cost_microusd"] or 0 for attempt in attempts) == sandbox.vendor.bill.total_microusd
