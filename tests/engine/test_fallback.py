"""Other ways to a picture: the next provider of the chain, another prompt, and the way back at a retry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest
from pydantic import SecretStr

from safelight.domain.fallback import OnRefusal, Target
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import JobStatus
from safelight.domain.order import ImageOrder
from safelight.engine.orders import control
from safelight.engine.orders.control import CancelMode
from safelight.engine.orders.submit import submit
from safelight.sandbox.server import RunningSandbox
from safelight.settings import ProviderSettings, Settings
from tests.engine.conftest import running
from tests.orders import GEMINI, attempts_of, ended, images_of, order, vendor_image

SPARE = Target(
    provider="spare", model="gemini-3-pro-image", options={}, timeout_seconds=20.0, estimate_microusd=150_000
)


def account(url: str, key: str = "good-key") -> ProviderSettings:
    return ProviderSettings(kind="gemini", base_url=url, api_key=SecretStr(key), max_concurrency=8)


@pytest.fixture
def settings(settings: Settings, sandbox: RunningSandbox) -> Settings:
    providers = {
        "gemini": account(sandbox.gemini_url()),
        "spare": account(sandbox.gemini_url()),
        "keyless": account(sandbox.gemini_url(), "bad-key"),
        "down": account(sandbox.gemini_url("503")),
    }
    return settings.model_copy(update={"providers": providers})


def with_spare(image: ImageOrder, *, provider: str = "gemini", on_refusal: OnRefusal = OnRefusal.STOP) -> ImageOrder:
    return replace(image, provider=provider, fallbacks=(SPARE,), on_refusal=on_refusal)


async def run(settings: Settings, pool: asyncpg.Pool, *images: ImageOrder) -> tuple[JobId, JobStatus]:
    accepted = await submit(pool, order(*images), run_limit_seconds=3600)
    async with running(settings):
        return accepted.job_id, await ended(pool, accepted.job_id)


async def way_of(pool: asyncpg.Pool, job_id: JobId) -> list[tuple[str, str]]:
    """Who was asked, and how each call ended."""
    return [(row["provider"], row["status"]) for row in await attempts_of(pool, job_id)]


async def retries_told(pool: asyncpg.Pool, job_id: JobId) -> Sequence[dict[str, str]]:
    rows = await pool.fetch(
        "SELECT data FROM events WHERE job_id = $1 AND type = 'image.retrying' ORDER BY seq", job_id
    )
    return [row["data"] if isinstance(row["data"], dict) else json.loads(row["data"]) for row in rows]


async def test_a_key_that_was_never_good_sends_the_image_to_the_next_provider(settings: Settings, pool: asyncpg.Pool):
    job_id, status = await run(settings, pool, with_spare(vendor_image("a"), provider="keyless"))

    assert status is JobStatus.COMPLETED
    assert await way_of(pool, job_id) == [("keyless", "unbilled"), ("spare", "settled")]
    [image] = await images_of(pool, job_id)
    assert (image["provider"], image["model"], image["timeout_seconds"]) == ("spare", "gemini-3-pro-image", 20.0)
    [told] = await retries_told(pool, job_id)
    assert (told["way"], told["provider"]) == ("next_provider", "spare")


async def test_a_failing_vendors_images_go_on_when_its_gate_shuts(settings: Settings, pool: asyncpg.Pool):
    images = [with_spare(vendor_image(f"i{n}"), provider="down") for n in range(6)]

    job_id, status = await run(settings, pool, *images)

    assert status is JobStatus.COMPLETED
    assert {image["provider"] for image in await images_of(pool, job_id)} == {"spare"}
    assert {way for way in await way_of(pool, job_id) if way[0] == "down"} == {("down", "unbilled")}


@pytest.mark.parametrize(
    ("policy", "ways", "end"),
    [
        (OnRefusal.STOP, [("gemini", "refused")], JobStatus.FAILED),
        (OnRefusal.NEXT_PROVIDER, [("gemini", "refused"), ("spare", "refused")], JobStatus.FAILED),
        (OnRefusal.ALTERNATE_PROMPT, [("gemini", "refused"), ("gemini", "settled")], JobStatus.COMPLETED),
    ],
)
async def test_a_refusal_is_followed_by_what_the_caller_chose(
    settings: Settings, pool: asyncpg.Pool, policy: OnRefusal, ways: list[tuple[str, str]], end: JobStatus
):
    image = with_spare(vendor_image("a", "refuse IMAGE_SAFETY"), on_refusal=policy)

    job_id, status = await run(settings, pool, replace(image, alternate_prompt="A harmless picture"))

    assert (await way_of(pool, job_id), status) == (ways, end)


async def test_a_refused_image_takes_the_next_providers_picture(settings: Settings, pool: asyncpg.Pool):
    image = with_spare(vendor_image("a", "refuse IMAGE_SAFETY x1"), on_refusal=OnRefusal.NEXT_PROVIDER)

    job_id, status = await run(settings, pool, image)

    assert status is JobStatus.COMPLETED
    assert await way_of(pool, job_id) == [("gemini", "refused"), ("spare", "settled")]
    assert len({row["fingerprint"] for row in await attempts_of(pool, job_id)}) == 1, (
        "either picture is the ordered one"
    )


async def test_an_alternate_prompt_is_asked_with_once(settings: Settings, pool: asyncpg.Pool):
    image = with_spare(vendor_image("a", "refuse IMAGE_SAFETY"), on_refusal=OnRefusal.ALTERNATE_PROMPT)
    again = "Another one [[sandbox: refuse IMAGE_SAFETY]]"

    job_id, _ = await run(settings, pool, replace(image, alternate_prompt=again))

    assert await way_of(pool, job_id) == [("gemini", "refused"), ("gemini", "refused")]
    [row] = await images_of(pool, job_id)
    assert (row["status"], row["prompt"], row["original_prompt"]) == ("refused", again, image.prompt)


async def test_refusals_that_cost_money_stop_where_the_callers_attempts_do(settings: Settings, pool: asyncpg.Pool):
    image = vendor_image("a", "refuse IMAGE_SAFETY", max_attempts=1)

    job_id, _ = await run(settings, pool, with_spare(image, on_refusal=OnRefusal.NEXT_PROVIDER))

    assert await way_of(pool, job_id) == [("gemini", "refused")]
    [attempt] = await attempts_of(pool, job_id)
    assert attempt["cost_microusd"] > 0


async def test_an_unknown_outcome_sends_nobody_elsewhere(settings: Settings, pool: asyncpg.Pool):
    """The next provider would be a purchase more than the caller allowed."""
    job_id, _ = await run(settings, pool, with_spare(vendor_image("a", "cut", max_rebuys=0)))

    assert await way_of(pool, job_id) == [("gemini", "unknown")]
    [image] = await images_of(pool, job_id)
    assert image["status"] == "uncertain"


async def test_a_retry_begins_at_the_first_provider_with_the_first_prompt(settings: Settings, pool: asyncpg.Pool):
    refused = with_spare(vendor_image("a", "refuse IMAGE_SAFETY"), on_refusal=OnRefusal.ALTERNATE_PROMPT)
    elsewhere = with_spare(vendor_image("b", "refuse IMAGE_SAFETY"), on_refusal=OnRefusal.NEXT_PROVIDER)
    again = replace(refused, alternate_prompt="Another one [[sandbox: refuse IMAGE_SAFETY]]")
    job_id, _ = await run(settings, pool, again, elsewhere)
    before = {image["id"]: image["fingerprint"] for image in await images_of(pool, job_id)}

    assert await control.retry(pool, job_id, account="default", run_limit_seconds=3600) == 2

    for image in await images_of(pool, job_id):
        assert (image["provider"], image["model"], image["target"]) == ("gemini", GEMINI, 0)
        assert "[[sandbox: refuse IMAGE_SAFETY]]" in image["prompt"]
        assert image["prompt"].startswith("A picture of")
        assert (image["original_prompt"], image["fingerprint"]) == (None, before[image["id"]])


async def test_a_picture_of_another_prompt_keeps_no_image_at_a_shut_provider(
    settings: Settings, pool: asyncpg.Pool, sandbox: RunningSandbox
):
    """It came after a cancel and is kept; the image that is retried with another prompt has no use for it."""
    sandbox.vendor.hold()
    job_id = (await submit(pool, order(with_spare(vendor_image("a"))), run_limit_seconds=3600)).job_id
    async with running(settings):
        assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 1, timeout_seconds=20)
        await control.cancel(pool, job_id, account="default", mode=CancelMode.FINISH)
        sandbox.vendor.release()
        assert await ended(pool, job_id) is JobStatus.CANCELED
        await pool.execute(
            "INSERT INTO gates (provider, model, shut_at, probe_at)"
            " VALUES ('gemini', '', safelight.now(), safelight.now() + interval '1 h')"
        )

        await control.retry(pool, job_id, account="default", prompts={"a": "A silver key"}, run_limit_seconds=3600)
        assert await ended(pool, job_id) is JobStatus.COMPLETED

    assert await way_of(pool, job_id) == [("gemini", "received"), ("spare", "settled")]


async def test_another_model_of_the_same_provider_is_asked_for_itself(settings: Settings, pool: asyncpg.Pool):
    """What nobody could explain twice was the first model's."""
    other = replace(SPARE, provider="gemini")
    image = replace(vendor_image("a", "continuation x2"), fallbacks=(other,))

    job_id, status = await run(settings, pool, image)

    asked = [(row["model"], row["status"]) for row in await attempts_of(pool, job_id)]
    assert asked == [(GEMINI, "no_image"), (GEMINI, "no_image"), (other.model, "settled")]
    assert status is JobStatus.COMPLETED
