"""A site on loopback that answers every request with the bytes that a test gave it, and keeps what it was sent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "", ""]).encode() + body


@dataclass(slots=True)
class Site:
    """`requests` are their heads, in the order in which they came; `gone` is set when a connection has ended."""

    port: int = 0
    says: bytes = whole(b"ok")
    answer: Answer | None = None
    requests: list[bytes] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    serving: list[asyncio.Task[None]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.append(task)
        try:
            while True:
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                if self.answer is not None:
                    await self.answer(reader, writer)
                    break
                writer.write(self.says)
                if b"content-length" not in self.says:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone.set()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


@asynccontextmanager
async def open_site(*, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """On a free port of 127.0.0.1, until the block ends; then every connection has ended too."""
    site = Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=tls)
    site.port = server.sockets[0].getsockname()[1]
    async with server:
        yield site
    await asyncio.wait_for(asyncio.gather(*site.serving), 20)
