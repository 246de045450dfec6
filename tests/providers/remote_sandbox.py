"""A whole purchase of a remote job at the sandbox, asked after until it ends."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

from remote_wire import image_request

from safelight.net.billable import billable_call
from safelight.providers.provider import (
    ImageRequest,
    ImageResult,
    PollFailed,
    ProviderError,
    Refusal,
    RemoteHandle,
    RemoteProvider,
    StillRunning,
)
from safelight.sandbox.server import RunningSandbox

Ended = ImageResult | Refusal | ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """How it ended, and what kept it from being told, in order. `charged_microusd` is the vendor's own bill."""

    ended: Ended
    troubles: list[str] = field(default_factory=list)
    charged_microusd: int

    @property
    def booked_microusd(self) -> int | None:
        return self.ended.cost.microusd

    @property
    def outcome(self) -> str:
        """`picture`, or the code of what came in its place."""
        return "picture" if isinstance(self.ended, ImageResult) else self.ended.code


async def purchase(provider: RemoteProvider, sandbox: RunningSandbox, *, model: str, script: str) -> Purchase:
    """One call whose prompt says what is to happen to it."""
    request = image_request(model, prompt=f"A brass key [[sandbox: {script}]]", timeout_seconds=30.0)
    before = sandbox.vendor.bill.total_microusd
    troubles: list[str] = []
    async with asyncio.timeout(60):
        ended = await _submitted(provider, request)
        if isinstance(ended, RemoteHandle):
            handle = RemoteHandle.from_json(json.loads(json.dumps(ended.as_json())))
            ended = await followed(provider, handle, request, troubles)
    return Purchase(ended=ended, troubles=troubles, charged_microusd=sandbox.vendor.bill.total_microusd - before)


async def _submitted(provider: RemoteProvider, request: ImageRequest) -> Ended | RemoteHandle:
    try:
        with billable_call(timeout_seconds=30):
            return await provider.submit(request)
    except ProviderError as error:
        return error


async def followed(provider: RemoteProvider, handle: RemoteHandle, request: ImageRequest, troubles: list[str]) -> Ended:
    """How the job ended; the codes of the polls that could not tell are added to `troubles`."""
    while True:
        try:
            answer = await provider.poll(handle, request)
        except ProviderError as error:
            return error
        except PollFailed as failed:
            troubles.append(failed.code)
            continue
        if not isinstance(answer, StillRunning):
            return answer
        await asyncio.sleep(0.02)  # as the engine does between polls, only shorter
