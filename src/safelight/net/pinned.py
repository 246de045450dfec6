"""TCP connections to addresses that were chosen before: what a name leads to by now has no effect."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import httpcore2

from safelight.net.addresses import IPAddress
from safelight.net.billable import CONNECT_TIMEOUT_SECONDS

_MAX_TRIED = 3


class PinnedNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to `addresses`, one after the other, where `host` and `port` are asked for, and to nothing else.

    Only the connection is pinned: TLS above it verifies the name that was asked for.
    """

    def __init__(
        self, host: str, port: int, addresses: Sequence[IPAddress], *, network: httpcore2.AsyncNetworkBackend | None
    ) -> None:
        self._host = host
        self._port = port
        self._addresses = addresses[:_MAX_TRIED]
        # The library defines the class a second time for machines without anyio, and there as no backend.
        anyio: httpcore2.AsyncNetworkBackend = httpcore2.AnyIOBackend()  # pyright: ignore[reportAssignmentType]
        self._network = network or anyio

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """The addresses share the time. Raises what the last of them failed with."""
        if (host, port) != (self._host, self._port):
            raise httpcore2.ConnectError("another host than the one whose addresses were checked")
        share = (timeout or CONNECT_TIMEOUT_SECONDS) / len(self._addresses)
        failure: Exception = httpcore2.ConnectError("no address")
        for address in self._addresses:
            try:
                return await self._network.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure
