"""A vendor on loopback: a small real HTTP server that answers what a script says, and remembers every request."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

_MAX_HEAD_BYTES = 1 << 20
_BOUNDARY = re.compile(r"multipart/form-data;.*boundary=\"?([^\";]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """One request, whole. `target` is the path with its query as it came; names of headers are in small letters.

    `origin` is the vendor's own address, `http://127.0.0.1:PORT`: what the addresses in its answers begin with.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    origin: str

    @property
    def path(self) -> str:
        """Without the query."""
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        """The body, parsed. Raises ValueError for one that is no JSON."""
        return json.loads(self.body)

    @property
    def asked(self) -> tuple[str, str, bytes]:
        """What it asks for: equal for two requests that differ in their headers, or the boundary between their parts,
        alone."""
        boundary = _BOUNDARY.match(self.headers.get("content-type", ""))
        return self.method, self.target, self.body.replace(boundary[1].encode(), b"--") if boundary else self.body

    def holds(self, text: str) -> bool:
        """Whether the text stands anywhere in it, as it is."""
        head = "\n".join([self.target, *(f"{name}: {value}" for name, value in self.headers.items())])
        return text in head or text.encode() in self.body


class Delivery(StrEnum):
    """How much of an answer arrives."""

    WHOLE = "whole"
    HALF = "half"
    """The connection ends in the middle of the body."""
    CUT = "cut"
    """The connection ends without a byte."""
    NEVER = "never"
    """No byte, and the connection stays open until the caller hangs up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An HTTP answer. `headers` are besides those for the body's type and length."""

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    delivery: Delivery = Delivery.WHOLE

    @staticmethod
    def json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        return Reply(status=status, body=json.dumps(value).encode(), headers=headers or {})


Script = Callable[[SeenRequest], Reply]


class ScriptedVendor:
    """Listens on a free port inside of its `async with` block, and answers each request with what `script` returns.

    Every answer ends its connection. When the script raises, the caller's connection is cut, and leaving the block
    raises what the script raised.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[SeenRequest] = []
        self.connections = 0
        """Opened so far, with or without a request."""
        self.hung_up = 0
        """Callers that went away while their answer was being kept from them."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._released = asyncio.Event()
        self._released.set()
        self._script_error: Exception | None = None

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        assert self._server is not None, "the vendor listens inside of its `async with` block"
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def hold(self) -> None:
        """From now on requests are read, and answered only after `release`."""
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    async def wait_until(self, condition: Callable[[], bool], *, timeout_seconds: float = 10.0) -> None:
        """Returns when the condition on this vendor holds. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_MAX_HEAD_BYTES)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._script_error is not None:
            raise self._script_error

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._answer(await _read(reader, origin=self.url), reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, request: SeenRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        self._changed.set()
        try:
            reply = self.script(request)
        except Exception as error:
            self._script_error = error  # raised where the test can see it
            return
        if reply.delivery is Delivery.NEVER:
            await self._until_hung_up(reader)
            return
        await self._released.wait()
        if reply.delivery is not Delivery.CUT:
            writer.write(_written(reply))
            await writer.drain()

    async def _until_hung_up(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            await reader.read()
        self.hung_up += 1
        self._changed.set()


def _written(reply: Reply) -> bytes:
    head = [
        f"HTTP/1.1 {reply.status} Scripted",
        f"content-type: {reply.media_type}",
        f"content-length: {len(reply.body)}",
        "connection: close",
        *(f"{name}: {value}" for name, value in reply.headers.items()),
    ]
    body = reply.body if reply.delivery is Delivery.WHOLE else reply.body[: len(reply.body) // 2]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


async def _read(reader: asyncio.StreamReader, *, origin: str) -> SeenRequest:
    """Raises IncompleteReadError when the caller hangs up before the end."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = await _read_chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return SeenRequest(method=method, target=target, headers=headers, body=body, origin=origin)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while length := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += (await reader.readexactly(length + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body
