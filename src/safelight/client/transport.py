"""The way to one service: requests that are repeated where that does no harm, and answers that stay open."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2

from safelight.client.errors import ApiProblem, Unreachable, asked_pause_seconds, problem_of, redirected, unreachable
from safelight.domain.errors import SafelightError

_FIRST_DELAY_SECONDS, _LONGEST_DELAY_SECONDS = 0.1, 1.0
_MOST_REQUESTS = 100
"""At a time; whatever is asked beside them waits in line. Streams stay open and do not count. Chosen."""
_WRONG_ADDRESS = (httpx2.UnsupportedProtocol, httpx2.TooManyRedirects)


class Patience:
    """So many seconds of failing, from the first failure on, and from the next one after it was renewed."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        self._ends_at: float | None = None
        self._delay_seconds = _FIRST_DELAY_SECONDS

    async def wait_after(self, error: SafelightError, *, at_least_seconds: float = 0.0) -> None:
        """Returns when it is time for another attempt, the last one when the patience ends; raises `error` after that.

        Pauses grow from 0.1 to 1 second, unless they are asked to be longer.
        """
        now = time.monotonic()
        if self._ends_at is None:
            self._ends_at = now + self._seconds
        left_seconds = self._ends_at - now
        if left_seconds <= 0:
            raise error
        await asyncio.sleep(min(max(self._delay_seconds, at_least_seconds), left_seconds))
        self._delay_seconds = min(2 * self._delay_seconds, _LONGEST_DELAY_SECONDS)


class Transport:
    """Raises Unreachable, and ApiProblem for an answer that is not a success.

    A connection refused before the service ever answered is final; `is_final` tells.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        timeout_seconds: float,
        patience_seconds: float,
        silence_seconds: float,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._patience_seconds = patience_seconds
        self._silence_seconds = silence_seconds
        self._has_answered = False
        self._line = asyncio.Semaphore(_MOST_REQUESTS)
        self._http = httpx2.AsyncClient(
            base_url=self.base_url,
            timeout=timeout_seconds,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20),
            # A redirect to another address leaves the key behind.
            headers={"authorization": f"Bearer {api_key}"} if api_key is not None else None,
            follow_redirects=True,
            trust_env=not _is_loopback(self.base_url),
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    def patience(self) -> Patience:
        return Patience(self._patience_seconds)

    async def send(
        self, method: str, path: str, *, may_repeat: bool = False, held_seconds: float = 0.0, **request: Any
    ) -> httpx2.Response:
        """The answer, which the service may hold back for `held_seconds`."""
        if held_seconds:
            request["timeout"] = self._timeout_seconds + held_seconds
        patience = self.patience()
        while True:
            try:
                return await self._sent(method, path, **request)
            except (Unreachable, ApiProblem) as error:
                if not may_repeat or self.is_final(error):
                    raise
                await patience.wait_after(error, at_least_seconds=asked_pause_seconds(error))

    @asynccontextmanager
    async def stream(self, path: str, *, headers: Mapping[str, str]) -> AsyncIterator[httpx2.Response]:
        """An answer that stays open, to be read inside of the block; silence for too long breaks it."""
        timeout = httpx2.Timeout(self._timeout_seconds, read=self._silence_seconds)
        try:
            async with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                self._has_answered = True
                if not response.is_success:
                    await response.aread()
                    raise problem_of(response)
                yield response
        except httpx2.RequestError as error:
            raise unreachable(error, self.base_url) from error

    def is_final(self, error: Unreachable | ApiProblem) -> bool:
        """Whether the same request will not succeed later."""
        if isinstance(error, ApiProblem):
            return not error.is_retryable
        if isinstance(error.__cause__, _WRONG_ADDRESS):
            return True
        return isinstance(error.__cause__, httpx2.ConnectError) and not self._has_answered

    async def is_up(self) -> bool:
        """Whether something answers there; not whether it is ready."""
        try:
            await self._http.get("/healthz")
        except httpx2.RequestError:
            return False
        return True

    async def _sent(self, method: str, path: str, **request: Any) -> httpx2.Response:
        try:
            async with self._line:
                response = await self._http.request(method, path, **request)
        except httpx2.RequestError as error:
            raise unreachable(error, self.base_url) from error
        self._has_answered = True
        if response.request.method != method.upper():
            raise redirected(response, method)
        if response.is_success or response.status_code == httpx2.codes.NOT_MODIFIED:
            return response
        raise problem_of(response)


def _is_loopback(url: str) -> bool:
    """A proxy for the outside world does not reach this machine's own addresses."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
