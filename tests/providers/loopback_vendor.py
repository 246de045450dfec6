"""A vendor on loopback that answers exactly the bytes a test tells it to, and remembers every request."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Vendor:
    """`answer` decides what happens once a whole request has been read."""

    url: str = ""
    answer: Answer | None = None
    requests: list[SeenRequest] = field(default_factory=list)
    seen: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    def says(self, status: int, body: object, *, headers: dict[str, str] | None = None) -> None:
        """Answers whole. A body that is not bytes is sent as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [
            f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not OK'}",
            f"content-length: {len(content)}",
        ]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.writes("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    def writes(self, raw: bytes) -> None:
        """Writes these bytes and ends the connection."""

        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(raw)
            await writer.drain()

        self.answer = answer

    def resets(self) -> None:
        """Ends the connection with RST."""

        async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

        self.answer = answer

    def hangs(self) -> None:
        """Says nothing until the client has gone."""

        async def answer(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            await reader.read()

        self.answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self.answer is None:  # a stray connection: this port was somebody else's a moment ago
            writer.close()
            return
        self.serving.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _version = head[0].split(" ")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.requests.append(SeenRequest(method=method, path=path, headers=headers, body=body))
            self.seen.set()
            await self.answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.hung_up.set()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
