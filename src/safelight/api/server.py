"""The socket's side of the API: uvicorn, with limits on what comes before a body and a stop that answers everyone.

What is no HTTP is answered here, in plain text, and ends the connection; the application never sees it.
"""

from __future__ import annotations

import asyncio
import http
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from safelight.api.edge.closing import closing_of

MAX_HEAD_BYTES = 65_536
"""Of a request line with its headers, of a body's trailers, and of what stands around one chunk."""

MOST_WAITING_BYTES = 65_536
"""That are kept for a client before more is asked of it: asyncio's own mark."""

_LINGER_SECONDS = 2.0
_MOST_CONNECTIONS = 4000
"""Chosen: far more than one process serves well, and fewer than would exhaust it."""


class ServerConfig(uvicorn.Config):
    """`head_seconds` is the time a request may take to arrive up to its body; `stop_seconds` what is left to requests
    that run when the server is told to stop; `stall_seconds` the time in which a client for which more waits than is
    kept for one takes as much as that, and how long its machine may be silent."""

    def __init__(
        self,
        app: FastAPI,
        *,
        host: str = "127.0.0.1",
        port: int = 8420,
        head_seconds: float = 30.0,
        stop_seconds: int = 5,
        stall_seconds: float = 30.0,
    ) -> None:
        super().__init__(
            app,
            host=host,
            port=port,
            http=_Connection,
            ws="none",
            loop="none",
            lifespan="off",
            server_header=False,
            access_log=False,
            log_config=None,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=stop_seconds,
        )
        self.head_seconds = head_seconds
        self.stall_seconds = stall_seconds
        self.closing = closing_of(app)


class ApiServer(uvicorn.Server):
    """Told to stop, it first says so to the application, which then lets nobody wait any longer."""

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config)
        self._closing = config.closing

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own: uvicorn's way raises them again at the end, past everybody's clean-up."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        await super().shutdown(sockets)


class _Connection(HttpToolsProtocol):
    """One connection. The parser keeps what it has not understood yet, so that is what is counted."""

    config: ServerConfig

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._unread_bytes = 0
        self._has_moved = False
        self._is_refused = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # a machine that is gone says nothing: its silence has to be noticed
            milliseconds = int(self.config.stall_seconds * 1000)
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits for the client than is kept for one. If it does not take that, the connection is aborted: else it
        would be kept for as long as the client likes."""
        super().pause_writing()
        self._await_reading()

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._has_moved = False
        super().data_received(data)
        self._unread_bytes = 0 if self._has_moved else self._unread_bytes + len(data)
        if self._unread_bytes > MAX_HEAD_BYTES:
            self._refuse(431)

    def on_message_begin(self) -> None:
        self._has_moved = True
        self._head_bytes = 0
        self._await_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._has_moved = True
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._has_moved = True
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the base class's signature
        self._refuse(431 if self._head_bytes > MAX_HEAD_BYTES else 400)

    def _count(self, size: int) -> None:
        self._has_moved = True
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ValueError("the head is too large")  # the parser stops, and says so by `send_400_response`

    def _await_head(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.config.head_seconds, self._refuse, 408)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _await_reading(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(self.config.stall_seconds, self._abort_unless_read, waiting)

    def _abort_unless_read(self, waited: int) -> None:
        """A large answer may take long over a thin line, and is there at once: what counts is whether it moves."""
        if waited - self.transport.get_write_buffer_size() < MOST_WAITING_BYTES:
            self.transport.abort()
        else:
            self._await_reading()

    def _refuse(self, status: int) -> None:
        """The connection ends with this answer, or without one if another has begun.

        What still comes in is discarded for a moment: a connection that closes on unread data is reset, and the
        answer may be lost with it.
        """
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        self._stop_timer()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.close()
                return
        self.transport.write(_plain(status))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)


def _plain(status: int) -> bytes:
    phrase = http.HTTPStatus(status).phrase
    head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
    return f"{head}content-length: {len(phrase) + 1}\r\n\r\n{phrase}\n".encode("ascii")
