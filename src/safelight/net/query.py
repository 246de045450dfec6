"""The HTTP client for calls at the vendor that cost nothing: polling a remote job, cancelling it, listing models."""

from __future__ import annotations

import httpx2

from safelight.net.billable import CONNECT_TIMEOUT_SECONDS
from safelight.net.capped import MAX_ANSWER_BYTES, CappedResponse, no_cookies
from safelight.net.tls import public_authorities

READ_TIMEOUT_SECONDS = 30.0
"""Of one read, and of one write. Chosen: a vendor that is asked how far a job is answers at once."""


def query_client(*, max_answer_bytes: int = MAX_ANSWER_BYTES) -> httpx2.AsyncClient:
    """A client that keeps connections open between calls, follows no redirect, keeps no cookie, and reads no proxy or
    netrc from the environment.

    Connecting is bounded by `CONNECT_TIMEOUT_SECONDS` and each read by `READ_TIMEOUT_SECONDS`, whatever the caller's
    timeout, unless that is shorter. A drip trips neither: put a total deadline around the call.

    An answer's body is bounded by `max_answer_bytes` (then `capped.AnswerTooLarge`).
    """
    return httpx2.AsyncClient(
        transport=_BoundedTransport(max_answer_bytes=max_answer_bytes),
        headers={"accept-encoding": "identity"},
        timeout=None,
        cookies=no_cookies(),
        follow_redirects=False,
        trust_env=False,
    )


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    """Bounds the time of every step and the size of the answer."""

    def __init__(self, *, max_answer_bytes: int) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        super().__init__(verify=public_authorities(), limits=limits, trust_env=False)
        self._max_answer_bytes = max_answer_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        bounds = {"connect": CONNECT_TIMEOUT_SECONDS, "read": READ_TIMEOUT_SECONDS, "write": READ_TIMEOUT_SECONDS}
        wanted = request.extensions.get("timeout", {})
        timeout = {step: min(wanted.get(step) or bound, bound) for step, bound in bounds.items()}
        request.extensions = {**request.extensions, "timeout": timeout}
        return CappedResponse(await super().handle_async_request(request), max_bytes=self._max_answer_bytes)
