"""A vendor that is down, a key that was revoked, a balance that ran out: images wait, and nobody hammers."""

from __future__ import annotations

import asyncpg
import pytest
from pydantic import SecretStr

from safelight.domain.gates import BURST
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import JobStatus
from safelight.domain.order import ImageOrder
from safelight.engine import gates
from safelight.engine.orders.submit import submit
from safelight.sandbox.faults import parse_directive
from safelight.sandbox.server import RunningSandbox
from safelight.settings import ProviderSettings, Settings
from tests.engine.by_hand import pass_time
from tests.engine.conftest import running
from tests.orders import GEMINI, attempts_of, ended, image, images_of, order, until

CONCURRENCY = 4
MODELS = {
    "gemini": GEMINI,
    "openai": "gpt-image-1-mini",
    "replicate": "black-forest-labs/flux-schnell",
    "fal": "fal-ai/flux/dev",
}
VENDORS = sorted(MODELS)
ALL_OR_ONE = [pytest.param(each, marks=[pytest.mark.slow] if each != "openai" else []) for each in VENDORS]
"""Two kinds of wire answer all the others' questions as well; every one of them is asked in the long run."""


@pytest.fixture
def settings(settings: Settings, sandbox: RunningSandbox) -> Settings:
    """A lease that outlasts every jump of the clock; the pauses of a shut gate as in production."""
    providers = {
        vendor: ProviderSettings(
            kind=vendor, base_url=sandbox.url(vendor), api_key=SecretStr("good-key"), max_concurrency=CONCURRENCY
        )
        for vendor in VENDORS
    }
    changes = {
        "providers": providers,
        "egress_allow": "http://127.0.0.0/8:*",
        "poll_seconds": 0.05,
        "lease_seconds": 7200.0,
        "probe_seconds": 10.0,
        "probe_max_seconds": 300.0,
    }
    return settings.model_copy(update=changes)


def orders(vendor: str, count: int) -> list[ImageOrder]:
    return [image(f"i{n}", provider=vendor, model=MODELS[vendor], options={}) for n in range(count)]


async def submitted(pool: asyncpg.Pool, vendor: str, count: int) -> JobId:
    return (await submit(pool, order(*orders(vendor, count)), run_limit_seconds=86_400)).job_id


def outage(sandbox: RunningSandbox, vendor: str, script: str | None) -> None:
    sandbox.vendor.set_outage(vendor, parse_directive(script) if script else None)


def calls(sandbox: RunningSandbox) -> int:
    return len(sandbox.vendor.calls)


async def at_rest(pool: asyncpg.Pool) -> None:
    """Nothing is under way, and no probe is due: nothing more happens until time passes."""
    await until(
        pool,
        "SELECT NOT EXISTS (SELECT FROM images WHERE status IN ('processing', 'generating', 'uploading')"
        "                   OR admitted_at IS NOT NULL OR (status = 'queued' AND not_before > safelight.now()))"
        " AND EXISTS (SELECT FROM gates WHERE shut_at IS NOT NULL)"
        " AND NOT EXISTS (SELECT FROM gates WHERE shut_at IS NOT NULL AND probe_at <= safelight.now())",
    )


async def notices(pool: asyncpg.Pool) -> list[tuple[str, str, str | None]]:
    return [(each.type, each.provider, each.code) for each in await gates.notices(pool, 0)]


@pytest.mark.parametrize("vendor", ALL_OR_ONE)
async def test_ten_minutes_of_outage_fail_no_image_and_see_one_probe_in_each_window(
    vendor: str, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    outage(sandbox, vendor, "503")
    job_id = await submitted(pool, vendor, 12)

    async with running(settings):
        await at_rest(pool)
        before = calls(sandbox)
        assert before < BURST + CONCURRENCY, "the burst, and what was under way beside it"
        windows = 0
        passed_seconds = 0.0
        while passed_seconds < 600:
            pause = await pool.fetchval("SELECT extract(epoch FROM min(probe_at) - safelight.now())::float8 FROM gates")
            await pass_time(pool, pause / 2)
            await at_rest(pool)
            assert calls(sandbox) == before + windows, "nobody calls before the window opens"
            await pass_time(pool, pause / 2 + 0.01)
            windows += 1
            passed_seconds += pause
            await at_rest(pool)
            assert calls(sandbox) <= before + windows, "one probe, and no more"
        assert {row["status"] for row in await images_of(pool, job_id)} == {"queued"}
        outage(sandbox, vendor, None)
        await pass_time(pool, settings.probe_max_seconds + 1)
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    assert [told[0] for told in await notices(pool)] == ["provider.paused", "provider.resumed"]
    assert 5 <= windows <= 8, "10, 20, 40, 80, 160, 300 seconds"


@pytest.mark.parametrize("vendor", ALL_OR_ONE)
@pytest.mark.parametrize("script", ["bad-key", "no-credit"])
async def test_a_key_or_balance_that_goes_mid_run_pauses_the_provider_once_and_fails_nothing(
    script: str, vendor: str, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    async with running(settings):
        assert await ended(pool, await submitted(pool, vendor, 1)) is JobStatus.COMPLETED
        outage(sandbox, vendor, script)
        before = calls(sandbox)
        job_id = await submitted(pool, vendor, 60)
        await at_rest(pool)

        assert calls(sandbox) - before <= CONCURRENCY, "what was under way together, and nobody after"
        assert {row["status"] for row in await images_of(pool, job_id)} == {"queued"}
        assert [told[:2] for told in await notices(pool)] == [("provider.paused", vendor)]

        outage(sandbox, vendor, None)
        await pass_time(pool, settings.probe_seconds + 1)
        assert await ended(pool, job_id, seconds=60) is JobStatus.COMPLETED
    assert [told[:2] for told in await notices(pool)] == [("provider.paused", vendor), ("provider.resumed", vendor)]


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_key_that_was_never_good_is_an_error_at_once(
    vendor: str, settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    outage(sandbox, vendor, "bad-key")
    job_id = await submitted(pool, vendor, 3)

    async with running(settings):
        assert await ended(pool, job_id) is JobStatus.FAILED

    assert {row["error"]["kind"] for row in await images_of(pool, job_id)} == {"AUTH_ERROR"}
    assert [row["status"] for row in await attempts_of(pool, job_id)] == ["unbilled"] * 3
    assert await notices(pool) == []


async def test_a_quota_of_the_day_parks_the_provider_until_the_vendors_midnight(
    settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    outage(sandbox, "gemini", "429-per-day")
    job_id = await submitted(pool, "gemini", 12)

    async with running(settings):
        await at_rest(pool)
        assert calls(sandbox) <= CONCURRENCY
        outage(sandbox, "gemini", None)
        midnight = await pool.fetchval("SELECT probe_at AT TIME ZONE 'America/Los_Angeles' FROM gates")
        assert midnight.time().isoformat() == "00:00:00"
        before = calls(sandbox)
        pause = await pool.fetchval("SELECT extract(epoch FROM probe_at - safelight.now())::float8 FROM gates")
        await pool.execute("UPDATE workers SET heartbeat_at = heartbeat_at + make_interval(secs => $1)", pause)
        await pass_time(pool, pause - 5)
        await at_rest(pool)
        assert calls(sandbox) == before
        await pass_time(pool, 6)
        assert await ended(pool, job_id) is JobStatus.COMPLETED


async def test_a_vendor_that_takes_every_job_and_ends_none_is_paused_too(
    settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    broken = [
        image(f"i{n}", provider="fal", model=MODELS["fal"], prompt=f"{n} [[sandbox: failed]]", options={})
        for n in range(30)
    ]
    await submit(pool, order(*broken), run_limit_seconds=86_400)

    async with running(settings):
        await until(pool, "SELECT count(*) = 1 FROM gates WHERE shut_at IS NOT NULL")

    assert calls(sandbox) < BURST + 2 * CONCURRENCY
