"""One call of a real adapter at the sandbox, made as the engine makes it, and what both sides say of it afterwards."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from remote_sandbox import followed
from remote_wire import config, image_request
from scenario import PICTURE, REFUSAL, Place, Scenario

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, UNKNOWN_COST, Cost
from safelight.imaging.render import examine
from safelight.imaging.rendition import NotAnImage
from safelight.net.billable import CallNotSent, billable_call
from safelight.providers.fal import FalProvider
from safelight.providers.gemini import GeminiProvider
from safelight.providers.openai import OpenAIProvider
from safelight.providers.provider import (
    ImageProvider,
    ImageRequest,
    ImageResult,
    ProviderError,
    Refusal,
    RemoteHandle,
    RemoteProvider,
)
from safelight.providers.replicate import ReplicateProvider
from safelight.sandbox.server import RunningSandbox

ADAPTERS = {"gemini": GeminiProvider, "openai": OpenAIProvider, "replicate": ReplicateProvider, "fal": FalProvider}
MODELS = {
    "gemini": "gemini-3.1-flash-lite-image",
    "openai": "gpt-image-2",
    "replicate": "black-forest-labs/flux-schnell",
    "fal": "fal-ai/flux/dev",
}
NOT_SENT = "NOT_SENT"
_PATIENCE_SECONDS = 60

Ended = ImageResult | Refusal | ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """`ended` is the adapter's last word; `troubles` are the codes of the polls before it that told nothing.

    `requests` are the billable ones that the vendor has seen, `charged_microusd` is what its bill says of them.
    """

    ended: Ended
    troubles: list[str] = field(default_factory=list)
    requests: int
    charged_microusd: int
    estimate: Cost

    @property
    def outcome(self) -> str:
        match self.ended:
            case ImageResult():
                return PICTURE
            case Refusal():
                return REFUSAL
            case ProviderError(kind=kind):
                return kind.value

    @property
    def code(self) -> str | None:
        return None if isinstance(self.ended, ImageResult) else self.ended.code

    @property
    def billed(self) -> Billed:
        """A picture has always been paid for."""
        return Billed.YES if isinstance(self.ended, ImageResult) else self.ended.billed

    @property
    def scope(self) -> Scope:
        return self.ended.scope if isinstance(self.ended, ProviderError) else Scope.REQUEST

    @property
    def wait_seconds(self) -> float | None:
        return self.ended.retry_after_seconds if isinstance(self.ended, ProviderError) else None

    @property
    def is_whole(self) -> bool:
        """Whether a picture came that can be looked at: what the adapter leaves to others to find out."""
        if not isinstance(self.ended, ImageResult):
            return False
        try:
            examine(self.ended.data, [])
        except NotAnImage:
            return False
        return True


async def play(scenario: Scenario, sandbox: RunningSandbox) -> Played:
    """The call is followed to its end, and so is the vendor's side of it. One at a time at a sandbox."""
    vendor = sandbox.vendor
    calls_before, microusd_before = len(vendor.calls), vendor.bill.total_microusd
    request = _request(scenario)
    troubles: list[str] = []
    async with asyncio.timeout(_PATIENCE_SECONDS), _adapter(scenario, sandbox) as provider:
        try:
            estimate = provider.estimate(request)
        except LookupError:
            estimate = FREE
        ended = await _submitted(provider, request, within_seconds=scenario.within_seconds)
        if isinstance(ended, RemoteHandle):
            assert isinstance(provider, RemoteProvider)
            handle = RemoteHandle.from_json(json.loads(json.dumps(ended.as_json())))
            ended = await followed(provider, handle, request, troubles)
    assert await vendor.wait_until(lambda: vendor.in_flight == 0, timeout_seconds=_PATIENCE_SECONDS)
    return Played(
        ended=ended,
        troubles=troubles,
        requests=len(vendor.calls) - calls_before,
        charged_microusd=vendor.bill.total_microusd - microusd_before,
        estimate=estimate,
    )


def _request(scenario: Scenario) -> ImageRequest:
    script = f" [[sandbox: {scenario.script}]]" if scenario.script else ""
    request = image_request(MODELS[scenario.vendor], prompt=f"A brass key{script}", timeout_seconds=30.0)
    return replace(request, **dict(scenario.asked))


async def _submitted(provider: ImageProvider, request: ImageRequest, *, within_seconds: float) -> Ended | RemoteHandle:
    """One total deadline around the call, after which nothing may leave."""
    with billable_call(timeout_seconds=within_seconds) as call:
        try:
            async with asyncio.timeout(within_seconds if within_seconds > 0 else None):
                return await provider.submit(request)
        except ProviderError as error:
            return error
        except CallNotSent:
            return _late(Billed.NO, NOT_SENT)
        except TimeoutError:
            return _late(Billed.UNKNOWN, "TIMEOUT") if call.has_left else _late(Billed.NO, NOT_SENT)


def _late(billed: Billed, code: str) -> ProviderError:
    """What the engine makes of a call that its deadline has ended: see `AttemptPipeline.call`."""
    cost = FREE if billed is Billed.NO else UNKNOWN_COST
    return ProviderError("the deadline has passed", kind=ErrorKind.TIMEOUT, billed=billed, code=code, cost=cost)


@asynccontextmanager
async def _adapter(scenario: Scenario, sandbox: RunningSandbox) -> AsyncIterator[ImageProvider]:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # bound and not listening: it refuses, and nobody else gets the port
        urls = {
            Place.SANDBOX: sandbox.url(scenario.vendor),
            Place.DEAF: f"http://127.0.0.1:{deaf.getsockname()[1]}",
            Place.NOWHERE: "http://vendor.invalid",
        }
        settings = replace(config(urls[scenario.place]), api_key=scenario.api_key)
        provider = ADAPTERS[scenario.vendor].from_config(scenario.vendor, settings)
        try:
            yield provider
        finally:
            await provider.aclose()
