"""The guard on what this process asks at addresses that somebody else named: a vendor's result, a caller's reference, a
receiver of webhooks.

A name is resolved once; all of its addresses are checked; then one of those very addresses is connected to, whatever
the name leads to by then. TLS and the Host header still speak of the name:

    url ── form ── resolve once ── check every address ── connect to a checked one ── TLS for the name ── GET, POST

There is no HTTP client above the connection pool, so there are no redirects, cookies, credentials or proxies to turn
off, and the address is in no log: it may carry a signature.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import httpcore2
import httpx2

from safelight.net.addresses import IPAddress, is_own, why_denied
from safelight.net.billable import CONNECT_TIMEOUT_SECONDS
from safelight.net.capped import AnswerTooLarge, CappedResponse
from safelight.net.fetch import Fetched, FetchFailed, FetchRefused
from safelight.net.pinned import PinnedNetwork
from safelight.net.post import Posted
from safelight.net.resolver import Resolver
from safelight.net.tls import public_authorities

RESOLVE_TIMEOUT_SECONDS = 1.0
"""Chosen: a resolver that knows the name answers in milliseconds."""

MAX_REPLY_BYTES = 64 << 10
"""Read of the answer to a POST. Chosen: more is not waited for, and its status says what matters."""

_MAX_URL_CHARS = 2048
_PORTS = {"http": 80, "https": 443}
_PUBLIC_PORTS = {443, 8443}
_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "connection": "close", "user-agent": "safelight"}
_AUTHORITY = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_PRIVATE_NAME = re.compile(r"(?:.*\.)?(?:localhost|local|internal|home\.arpa)\.?")
"""Names that no public resolver knows, now or later."""
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
"""A host that a resolver may take for an IPv4 address in decimal, octal, hexadecimal or short form."""
_ALLOWANCE = re.compile(r"(https?)://(?:\[([0-9a-f:./]+)\]|([0-9./]+))(?::([0-9]{1,5}|\*))?", re.IGNORECASE)

_CANNOT_BE_READ = (
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.TimeoutException,
    httpx2.DecodingError,
    ssl.SSLError,  # an alert after the handshake passes through the library as it is
)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Every address of a host, in the order to try them. Raises OSError when there is none."""


class Unresolvable(FetchFailed):
    """The host's name leads to no address now; it may later."""

    def __init__(self, message: str) -> None:
        super().__init__(message, is_final=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Lets an address in that would be refused: over this scheme, in this network, on this port (None: on any)."""

    scheme: str
    network: IPv4Network | IPv6Network
    port: int | None

    def covers(self, scheme: str, port: int, address: IPAddress | None = None) -> bool:
        """Without an address: whether there can be one. One with an IPv6 scope is never let in."""
        fits = scheme == self.scheme and self.port in (None, port)
        return fits and (address is None or (address in self.network and "%" not in str(address)))


def parse_allowances(text: str) -> tuple[Allowance, ...]:
    """From `http://127.0.0.0/8:9000, https://[fd00::/8]:*`: a scheme, a network or one address, and a port.

    A port that is left out is the scheme's own; `*` is any. Raises ValueError that names the part which is none.
    """
    return tuple(_parse_allowance(part) for each in text.split(",") if (part := each.strip()))


def _parse_allowance(part: str) -> Allowance:
    parsed = _ALLOWANCE.fullmatch(part)
    if parsed is None:
        raise ValueError(f"`{part}` is no scheme://network:port such as `http://10.1.0.0/16:9000`")
    scheme, v6, v4, port_text = parsed.groups()
    port = None if port_text == "*" else int(port_text or _PORTS[scheme.lower()])
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"`{part}`: there is no port {port}")
    try:
        return Allowance(scheme=scheme.lower(), network=ip_network(v6 or v4), port=port)
    except ValueError as error:
        raise ValueError(f"`{part}`: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Destination:
    """Where a request goes. Every address was checked."""

    url: httpx2.URL
    host: str
    port: int
    addresses: tuple[IPAddress, ...]


class EgressGuard:
    """Asks addresses on the public internet over HTTPS on port 443 or 8443, and what `allow` lets through.

    The rest is for tests: `resolve` in place of the machine's resolver, `network` of the TCP connections, `tls` of the
    public certificate authorities.
    """

    def __init__(
        self,
        allow: Iterable[Allowance] = (),
        *,
        resolve: Resolve | None = None,
        network: httpcore2.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
        is_own: Callable[[IPAddress], bool] = is_own,
    ) -> None:
        self._allow = tuple(allow)
        self._resolve = resolve or Resolver()
        self._network = network
        self._tls = tls
        self._is_own = is_own

    async def fetch(self, url: str, *, max_bytes: int, timeout_seconds: float) -> Fetched:
        """The body of a 200, decoded. `timeout_seconds` bounds everything, from the resolver to the last byte.

        Raises FetchRefused before anything was connected to, and FetchFailed; it is final for a redirect, for a 4xx
        other than 408 and 429, and for more than `max_bytes`. No message holds more of the URL than its host.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._get(await self._destination(url), max_bytes=max_bytes)
        except TimeoutError:
            raise FetchFailed(f"there was no whole answer within {timeout_seconds:g} s", is_final=False) from None

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Posted:
        """What was answered, with any status. `timeout_seconds` bounds everything: past it no first byte leaves, not
        even from a process that was stopped meanwhile. Of the answer's body `MAX_REPLY_BYTES` are read at most; one
        that breaks off, or takes too long, is as good as its beginning.

        Raises FetchRefused before anything was connected to, and FetchFailed when no status was answered. No message
        holds more of the URL than its host.
        """
        deadline = time.monotonic() + timeout_seconds
        reply = bytearray()
        head: httpcore2.Response | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                to = await self._destination(url)
                request = httpx2.Request("POST", to.url, headers={**_HEADERS, **headers}, content=body)
                async with self._answer(to, request, deadline=deadline) as head:
                    async for part in head.aiter_stream():
                        reply += part
                        if len(reply) >= MAX_REPLY_BYTES:
                            break
        except TimeoutError:
            if head is None:
                raise FetchFailed(f"there was no answer within {timeout_seconds:g} s", is_final=False) from None
        except _CANNOT_BE_READ as error:
            if head is None:
                host = httpx2.URL(url).host
                raise FetchFailed(f"`{host}` could not be asked: {_why(error)}", is_final=False) from error
        assert head is not None, "without an answer there was an error"
        names = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in head.headers}
        return Posted(http_status=head.status, headers=names, reply=bytes(reply[:MAX_REPLY_BYTES]))

    async def check(self, url: str) -> None:
        """Returns when `url` may be asked now. Resolves its host, and connects to nothing.

        Raises FetchRefused, and Unresolvable for a host that leads nowhere.
        """
        await self._destination(url)

    async def _destination(self, text: str) -> _Destination:
        url = _parsed(text)
        host, port = url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme]
        is_public_port = url.scheme == "https" and port in _PUBLIC_PORTS
        if not is_public_port and not any(each.covers(url.scheme, port) for each in self._allow):
            allowed = "https on 443 and 8443 is, and what SAFELIGHT_EGRESS_ALLOW names"
            raise FetchRefused(f"{url.scheme} on port {port} is not allowed; {allowed}")
        addresses = await self._addresses_of(host, port)
        for address in addresses:
            why = why_denied(address, is_own=self._is_own)
            if why is None and is_public_port:
                continue
            if not any(each.covers(url.scheme, port, address) for each in self._allow):
                raise FetchRefused(f"`{host}` leads to {why or 'an address that is allowed on other ports only'}")
        return _Destination(url=url, host=host, port=port, addresses=addresses)

    async def _addresses_of(self, host: str, port: int) -> tuple[IPAddress, ...]:
        with suppress(ValueError):
            return (ip_address(host),)
        if not _NAME.fullmatch(host) or _ENDS_IN_A_NUMBER.fullmatch(host):
            raise FetchRefused("its host is neither a name nor an IP address as it is usually written")
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_SECONDS):
                addresses = tuple(dict.fromkeys(map(ip_address, await self._resolve(host, port))))
        except (OSError, ValueError):  # a TimeoutError is an OSError, a UnicodeError is a ValueError
            addresses = ()
        if not addresses and _PRIVATE_NAME.fullmatch(host):
            raise FetchRefused(f"`{host}` is a name of a private network")
        if not addresses:
            raise Unresolvable(f"`{host}` leads to no address")
        return addresses

    async def _get(self, to: _Destination, *, max_bytes: int) -> Fetched:
        request = httpx2.Request("GET", to.url, headers=_HEADERS)
        try:
            async with self._answer(to, request) as answer:
                if answer.status != 200:
                    raise _no_success(to.host, answer.status)
                body = httpx2.Response(200, headers=answer.headers, stream=_Body(answer))
                capped = CappedResponse(body, max_bytes=max_bytes)
                mime = capped.headers.get("content-type", "").partition(";")[0].strip().lower()
                return Fetched(data=await capped.aread(), mime=mime or None)
        except AnswerTooLarge as error:
            raise FetchFailed(f"`{to.host}`: {error}", is_final=True, http_status=200) from error
        except _CANNOT_BE_READ as error:
            raise FetchFailed(f"`{to.host}` could not be read: {_why(error)}", is_final=False) from error

    @asynccontextmanager
    async def _answer(
        self, to: _Destination, request: httpx2.Request, *, deadline: float | None = None
    ) -> AsyncIterator[httpcore2.Response]:
        """The answer's head, over a connection of its own to an address that was checked. With a monotonic `deadline`
        the request stays here when that has passed with the connection open and nothing sent."""

        async def before_each_step(event: str, _info: dict[str, Any]) -> None:
            if deadline is not None and event.endswith("send_request_headers.started") and time.monotonic() >= deadline:
                raise TimeoutError

        target = httpcore2.URL(scheme=to.url.raw_scheme, host=to.url.raw_host, port=to.port, target=to.url.raw_path)
        extensions = {"timeout": {"connect": CONNECT_TIMEOUT_SECONDS}, "trace": before_each_step}
        network = PinnedNetwork(to.host, to.port, to.addresses, network=self._network)
        tls = self._tls or public_authorities()
        async with (
            httpcore2.AsyncConnectionPool(tls, network_backend=network) as pool,
            pool.stream(
                request.method,
                target,
                headers=request.headers.raw,
                content=request.content or None,
                extensions=extensions,
            ) as answer,
        ):
            yield answer


def _parsed(text: str) -> httpx2.URL:
    """Refuses what two readers could understand differently, and what has no place in an address that is handed on."""
    if len(text) > _MAX_URL_CHARS:
        raise FetchRefused(f"it is longer than {_MAX_URL_CHARS} characters")
    if not text.isprintable() or any(char.isspace() or char == "\\" for char in text):
        raise FetchRefused("it holds a space, a backslash or a character that is not printed")
    authority = _AUTHORITY.match(text)
    if authority is None:
        raise FetchRefused("it is not an http or https URL")
    if "@" in authority[1] or "#" in text:
        raise FetchRefused("it holds a user, a password or a fragment")
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        raise FetchRefused("it is no URL") from None
    if not url.raw_host or (url.port is not None and not 1 <= url.port <= 65535):
        raise FetchRefused("it has no host, or a port that there is not")
    return url


def _why(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__


def _no_success(host: str, status: int) -> FetchFailed:
    is_final = 300 <= status < 500 and status not in (408, 429)
    return FetchFailed(f"`{host}` answered {status}", is_final=is_final, http_status=status)


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_stream():
            yield part
