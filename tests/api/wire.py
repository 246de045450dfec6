"""HTTP byte by byte: requests that no client library would send, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import httpx2

Header = tuple[str, str | bytes]


def request(
    method: str, target: str, headers: Iterable[Header] = (), body: bytes = b"", *, host: str | None = "127.0.0.1"
) -> bytes:
    """With a length where there is a body, unless the headers say how it is framed."""
    lines: list[Header] = [] if host is None else [("Host", host)]
    lines += headers
    if body and not {"content-length", "transfer-encoding"} & {name.lower() for name, _ in lines}:
        lines.append(("Content-Length", str(len(body))))
    head = [f"{method} {target} HTTP/1.1".encode()]
    head += [name.encode() + b": " + (text if isinstance(text, bytes) else text.encode()) for name, text in lines]
    return b"\r\n".join([*head, b"", body])


@asynccontextmanager
async def connection(client: httpx2.AsyncClient) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """To the server that the client talks to."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchange(client: httpx2.AsyncClient, *parts: bytes) -> httpx2.Response:
    """The answer to a request that is sent as it is."""
    async with connection(client) as (reader, writer):
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(30):
            return await answer_of(reader)


async def answer_of(reader: asyncio.StreamReader) -> httpx2.Response:
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = httpx2.Headers([(name, text) for name, _, text in (line.partition(": ") for line in lines)])
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return httpx2.Response(int(status_line.split(" ")[1]), headers=headers, content=body)
