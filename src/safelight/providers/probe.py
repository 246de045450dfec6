"""One picture bought outside of any job: to see whether an account really delivers, and at what price."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.money import FREE, UNKNOWN_COST
from safelight.net.billable import billable_call
from safelight.providers.provider import (
    ImageProvider,
    ImageRequest,
    ImageResult,
    PollFailed,
    ProviderError,
    Refusal,
    RemoteHandle,
    RemoteProvider,
    StillRunning,
)

_CANCEL_SECONDS = 10.0


async def buy_one(
    provider: ImageProvider, request: ImageRequest, *, poll_seconds: float = 1.0
) -> ImageResult | Refusal:
    """The picture, or the vendor's refusal. One purchase, never repeated; a remote job is asked after to its end.

    All of it within the request's `timeout_seconds`: then the connection is closed, or the job canceled, and what it
    cost is not known. Raises ProviderError, and CallNotSent when nothing left.
    """
    deadline = time.monotonic() + request.timeout_seconds
    with billable_call(timeout_seconds=request.timeout_seconds) as call:
        try:
            async with asyncio.timeout(request.timeout_seconds):
                answer = await provider.submit(request)
        except TimeoutError:
            raise _too_late(request, Billed.UNKNOWN if call.has_left else Billed.NO) from None
    if not isinstance(answer, RemoteHandle):
        return answer
    if not isinstance(provider, RemoteProvider):
        raise TypeError(f"{type(provider).__name__} answers with a job and cannot be asked after it")
    failures: list[str] = []
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            return await _ended(provider, answer, request, failures, poll_seconds=poll_seconds)
    except TimeoutError:
        await _stop(provider, answer)
        raise _too_late(request, Billed.UNKNOWN, remote_id=answer.remote_id, failures=failures) from None
    except asyncio.CancelledError:
        await _stop(provider, answer)
        raise


async def _ended(
    provider: RemoteProvider, handle: RemoteHandle, request: ImageRequest, failures: list[str], *, poll_seconds: float
) -> ImageResult | Refusal:
    while True:
        pause = poll_seconds
        try:
            answer = await provider.poll(handle, request)
        except PollFailed as failed:
            failures.append(failed.message)
            pause = max(pause, failed.retry_after_seconds or 0.0)
        else:
            if not isinstance(answer, StillRunning):
                return answer
            pause = max(pause, answer.after_seconds or 0.0)
        await asyncio.sleep(pause)


async def _stop(provider: RemoteProvider, handle: RemoteHandle) -> None:
    """As far as the vendor can be told."""
    with suppress(PollFailed, TimeoutError):
        async with asyncio.timeout(_CANCEL_SECONDS):
            await provider.cancel(handle)


def _too_late(
    request: ImageRequest, billed: Billed, *, remote_id: str | None = None, failures: Sequence[str] = ()
) -> ProviderError:
    last = f"; the last question about it failed: {failures[-1]}" if failures else ""
    return ProviderError(
        f"there was no picture within {request.timeout_seconds:g} seconds{last}",
        kind=ErrorKind.TIMEOUT,
        billed=billed,
        code="TIMEOUT",
        request_id=remote_id,
        cost=FREE if billed is Billed.NO else UNKNOWN_COST,
    )
