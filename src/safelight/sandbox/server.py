"""The sandbox on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from safelight.sandbox.app import all_wires, create_app
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.desk import CONNECTION_EXTENSION, ServedWire
from safelight.sandbox.protocol import Wire
from safelight.sandbox.vendor import Vendor


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSandbox:
    """`base_url` has no trailing slash; `vendor` is the live state behind it."""

    base_url: str
    port: int
    bill_path: Path
    vendor: Vendor

    def url(self, vendor: str, scenario: str = "") -> str:
        """What that vendor's client takes as its base URL; `scenario` as in `429=5` or `slow=2/cut`.

        Raises UnknownDirective for a vendor that is not there.
        """
        return vendor_url(self.base_url, self.vendor.wire(vendor), scenario)

    def gemini_url(self, scenario: str = "") -> str:
        return self.url("gemini", scenario)


async def serve(
    config: SandboxConfig,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    bill_path: Path,
    ready: Callable[[int], None],
) -> None:
    """Serves until SIGINT, SIGTERM or cancellation; `ready` gets the port once connections are accepted.

    Port 0 picks a free one. Raises OSError when the address is taken.
    """
    stopped = asyncio.Event()
    async with running_sandbox(config, host=host, port=port, bill_path=bill_path) as sandbox:
        with _signals_set(stopped):
            ready(sandbox.port)
            await stopped.wait()


@asynccontextmanager
async def running_sandbox(
    config: SandboxConfig,
    *,
    bill_path: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    wires: Sequence[ServedWire] | None = None,
) -> AsyncIterator[RunningSandbox]:
    """A sandbox in the current event loop, of all vendors unless `wires` says which.

    Leaving cuts the calls in flight; the bill stays in its file. Raises OSError when the address is taken, and
    ValueError as `create_app` does.
    """
    listener = socket.create_server((host, port))
    # asyncio does this by itself only for sockets that name their protocol, which those of `create_server` do not. Then
    # a body waits 40 ms for its head to be acknowledged, whenever the connection was kept.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bound_port: int = listener.getsockname()[1]
    try:
        app = create_app(config, bill_path=bill_path, wires=wires)
    except ValueError:
        listener.close()
        raise
    server = _Server(
        uvicorn.Config(
            app,
            http=_OpenProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=2,
        )
    )
    vendor: Vendor = app.state.vendor
    running = asyncio.create_task(server.serve(sockets=[listener]), name="sandbox server")
    try:
        await _listening(server, running)
        yield RunningSandbox(
            base_url=f"http://{host}:{bound_port}", port=bound_port, bill_path=bill_path, vendor=vendor
        )
    finally:
        vendor.close()
        server.leave()
        await running


def vendor_url(base_url: str, wire: Wire, scenario: str = "") -> str:
    return "/".join(filter(None, (base_url, scenario, wire.name))) + wire.base_path


def vendor_urls(base_url: str) -> dict[str, str]:
    """What each vendor's client takes as its base URL, by the vendor's name."""
    return {wire.name: vendor_url(base_url, wire) for wire in all_wires()}


class _Server(uvicorn.Server):
    """Says when it listens, leaves at once when told to, and leaves signals to the program around it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), 0.1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """At once where nobody is connected. Else as ever, with a pause for clients to hear of it."""
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for each in (*self.servers, *(sockets or ())):
            each.close()
        await self.lifespan.shutdown()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _OpenProtocol(HttpToolsProtocol):
    """ASGI has no words for half an answer, or for none; this hands the app the connection itself."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[CONNECTION_EXTENSION] = transport
            await inner(cast(Any, scope), receive, send)

        self.app = app


async def _listening(server: _Server, running: asyncio.Task[None]) -> None:
    """Raises whatever ended the server before it listened."""
    started = asyncio.create_task(server.listening.wait())
    try:
        await asyncio.wait([started, running], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
    finally:
        started.cancel()


@contextmanager
def _signals_set(event: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    names = (signal.SIGINT, signal.SIGTERM)
    with contextlib.ExitStack() as stack:
        for name in names:
            # Not on Windows, and not outside of the main thread; there only cancellation ends it.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(name, event.set)
                stack.callback(loop.remove_signal_handler, name)
        yield
