"""The HTTP client for calls that cost money.

A billable request is sent once, on a connection of its own, and its first byte leaves only while its
attempt's deadline has not passed. `BillableCall` is where the engine says when that is and reads back whether
anything left:

    with billable_call(timeout_seconds=180) as call:
        result = await provider.submit(request)
    # after a failure: `call.has_left` False proves that the vendor cannot have charged for it
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import httpx2

from safelight.net.capped import MAX_ANSWER_BYTES, CappedResponse, no_cookies
from safelight.net.capped import AnswerTooLarge as AnswerTooLarge  # what a call can end with is named here, whole
from safelight.net.tls import public_authorities

CONNECT_TIMEOUT_SECONDS = 5.0
"""Of DNS, TCP and of TLS, each. Chosen short: a connection that never opened is proven unbilled and retried
for free."""


class CallNotSent(Exception):
    """Nothing of the request left this process: the call is proven unbilled."""


class AlreadySent(Exception):
    """Something below us tried to send a second request within one call. The outcome of the first is
    unknown."""


@dataclass(slots=True)
class BillableCall:
    """One call's deadline (monotonic seconds) and what became of its one request.

    `has_left` is True from the moment the first byte may have left; `was_refused` when the deadline kept it
    here.
    """

    deadline: float
    has_left: bool = field(default=False, init=False)
    was_refused: bool = field(default=False, init=False)

    def check(self) -> None:
        """Called with the connection open and nothing written yet.

        Raises CallNotSent past the deadline, and AlreadySent from the second request on.
        """
        if self.has_left:
            raise AlreadySent("a billable call sends one request; a second one was stopped")
        if time.monotonic() >= self.deadline:
            self.was_refused = True
            raise CallNotSent("the attempt's deadline passed before its first byte was sent")
        self.has_left = True


_current: ContextVar[BillableCall | None] = ContextVar("billable_call", default=None)


@contextmanager
def billable_call(*, timeout_seconds: float) -> Iterator[BillableCall]:
    """Every request sent inside is this one call. Requests outside of it are not checked."""
    call = BillableCall(time.monotonic() + timeout_seconds)
    token = _current.set(call)
    try:
        yield call
    finally:
        _current.reset(token)


def current_call() -> BillableCall | None:
    """The call that the running task is inside of: how an adapter learns whether its request has left."""
    return _current.get()


def billable_client(*, max_answer_bytes: int = MAX_ANSWER_BYTES) -> httpx2.AsyncClient:
    """A client that never reuses an idle connection, follows no redirect, keeps no cookie, and reads no proxy or netrc
    from the environment.

    Connecting is bounded by `CONNECT_TIMEOUT_SECONDS`, whatever the caller's timeout. Its other timeouts are
    per read and off: the engine puts one total deadline around the call.

    An answer's headers are bounded by the HTTP library (100 KiB, then RemoteProtocolError) and its body by
    `max_answer_bytes` (then AnswerTooLarge). It asks for an uncompressed body; one that is compressed once is
    decoded in steps and counted decoded, one that is compressed more than once is a DecodingError.
    """
    return httpx2.AsyncClient(
        transport=_CheckedTransport(max_answer_bytes=max_answer_bytes),
        headers={"connection": "close", "accept-encoding": "identity"},
        timeout=None,
        cookies=no_cookies(),
        follow_redirects=False,
        trust_env=False,
    )


class _CheckedTransport(httpx2.AsyncHTTPTransport):
    """Asks the current call for leave at the last moment before the request's first byte, and caps the answer."""

    def __init__(self, *, max_answer_bytes: int) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        super().__init__(verify=public_authorities(), limits=limits, trust_env=False)
        self._max_answer_bytes = max_answer_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call = _current.get()
        timeout = request.extensions.get("timeout", {})
        connect_seconds = min(timeout.get("connect") or CONNECT_TIMEOUT_SECONDS, CONNECT_TIMEOUT_SECONDS)
        request.extensions = {**request.extensions, "timeout": {**timeout, "connect": connect_seconds}}
        if call is not None:

            async def trace(event: str, _info: dict[str, Any]) -> None:
                if event.endswith("send_request_headers.started"):
                    call.check()

            request.extensions["trace"] = trace
        return CappedResponse(await super().handle_async_request(request), max_bytes=self._max_answer_bytes)
