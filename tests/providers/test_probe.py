"""One picture bought by itself: within its time, followed to its end, stopped when it is given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gemini_wire
import pytest
from configs import config

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.money import FREE
from safelight.providers.gemini import GeminiProvider
from safelight.providers.probe import buy_one
from safelight.providers.provider import ImageRequest, ImageResult, ProviderError, Refusal
from safelight.providers.replicate import ReplicateProvider
from safelight.testing import Delivery, Reply, ScriptedVendor, SeenRequest

KEY = "canary-key-0123456789"
REMOTE_MODEL = "black-forest-labs/flux-schnell"
PICTURE = "data:image/png;base64,aGVsbG8="


@pytest.fixture
async def vendor() -> AsyncIterator[ScriptedVendor]:
    async with ScriptedVendor(lambda _: Reply(status=500)) as vendor:
        yield vendor


@pytest.fixture
async def gemini(vendor: ScriptedVendor) -> AsyncIterator[GeminiProvider]:
    provider = GeminiProvider.from_config("gemini", config(api_key=KEY, base_url=vendor.url))
    yield provider
    await provider.aclose()


@pytest.fixture
async def replicate(vendor: ScriptedVendor) -> AsyncIterator[ReplicateProvider]:
    provider = ReplicateProvider.from_config("replicate", config(api_key=KEY, base_url=vendor.url))
    yield provider
    await provider.aclose()


def request(model: str = gemini_wire.MODEL, *, timeout_seconds: float = 30.0) -> ImageRequest:
    return ImageRequest(model=model, prompt="A red apple", attempt_key="probe_1", timeout_seconds=timeout_seconds)


class Job:
    """A vendor's job, whose polls are answered in this order; the last answer is repeated."""

    def __init__(self, *polls: Reply | str) -> None:
        self.polls = list(polls)
        self.canceled = 0

    def __call__(self, request: SeenRequest) -> Reply:
        if request.path.endswith("/predictions"):
            return self._shown("starting", 201)
        if request.path.endswith("/cancel"):
            self.canceled += 1
            return self._shown("canceled")
        poll = self.polls.pop(0) if len(self.polls) > 1 else self.polls[0]
        return self._shown(poll) if isinstance(poll, str) else poll

    def _shown(self, status: str, code: int = 200) -> Reply:
        body: dict[str, Any] = {"id": "pred1", "status": status, "urls": {}}
        return Reply.json(body | ({"output": [PICTURE]} if status == "succeeded" else {}), status=code)


async def test_a_picture_is_bought_with_one_request(vendor: ScriptedVendor, gemini: GeminiProvider) -> None:
    answer = gemini_wire.answer(gemini_wire.picture_part(), usage=gemini_wire.USAGE)
    vendor.script = lambda _: Reply.json(answer)

    result = await buy_one(gemini, request())

    assert isinstance(result, ImageResult)
    assert (result.data, result.cost) == (gemini_wire.PNG, gemini_wire.USAGE_COST)
    assert len(vendor.requests) == 1


async def test_a_failure_is_not_tried_again(vendor: ScriptedVendor, gemini: GeminiProvider) -> None:
    with pytest.raises(ProviderError) as caught:
        await buy_one(gemini, request())

    assert caught.value.http_status == 500
    assert len(vendor.requests) == 1


async def test_silence_ends_with_the_time_and_may_have_cost(vendor: ScriptedVendor, gemini: GeminiProvider) -> None:
    vendor.script = lambda _: Reply(delivery=Delivery.NEVER)

    with pytest.raises(ProviderError) as caught:
        await buy_one(gemini, request(timeout_seconds=0.5))

    assert (caught.value.kind, caught.value.billed) == (ErrorKind.TIMEOUT, Billed.UNKNOWN)
    await vendor.wait_until(lambda: vendor.hung_up == 1)


async def test_a_call_that_never_left_cost_nothing(vendor: ScriptedVendor, gemini: GeminiProvider) -> None:
    with pytest.raises(ProviderError) as caught:
        await buy_one(gemini, request(timeout_seconds=0.0))

    assert (caught.value.kind, caught.value.billed, caught.value.cost) == (ErrorKind.TIMEOUT, Billed.NO, FREE)
    assert vendor.requests == []


async def test_a_remote_job_is_followed_over_failed_questions_to_its_picture(
    vendor: ScriptedVendor, replicate: ReplicateProvider
) -> None:
    vendor.script = Job("processing", Reply(status=503), Reply(delivery=Delivery.CUT), "processing", "succeeded")

    result = await buy_one(replicate, request(REMOTE_MODEL), poll_seconds=0.01)

    assert isinstance(result, ImageResult)
    assert result.data == b"hello"
    assert [each.method for each in vendor.requests] == ["POST", *["GET"] * 5]


async def test_a_remote_refusal_is_the_result(vendor: ScriptedVendor, replicate: ReplicateProvider) -> None:
    vendor.script = Job(Reply.json({"id": "pred1", "status": "failed", "error": "NSFW content detected"}))

    assert isinstance(await buy_one(replicate, request(REMOTE_MODEL), poll_seconds=0.01), Refusal)


async def test_a_job_that_outlasts_its_time_is_canceled_and_named(
    vendor: ScriptedVendor, replicate: ReplicateProvider
) -> None:
    vendor.script = job = Job(Reply(status=503))

    with pytest.raises(ProviderError) as caught:
        await buy_one(replicate, request(REMOTE_MODEL, timeout_seconds=1.0), poll_seconds=0.01)

    assert (caught.value.kind, caught.value.billed) == (ErrorKind.TIMEOUT, Billed.UNKNOWN)
    assert caught.value.request_id == "pred1"
    assert "HTTP 503" in caught.value.message
    assert job.canceled == 1


async def test_a_job_is_canceled_when_the_person_gives_up(vendor: ScriptedVendor, replicate: ReplicateProvider) -> None:
    vendor.script = job = Job("processing")
    probe = asyncio.create_task(buy_one(replicate, request(REMOTE_MODEL), poll_seconds=0.01))
    await vendor.wait_until(lambda: len(vendor.requests) > 2)

    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe

    assert job.canceled == 1
