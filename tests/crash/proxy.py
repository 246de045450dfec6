"""A TCP proxy in front of PostgreSQL that can be slow, be gone, or lose the answer to a COMMIT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_CHUNK = 64 * 1024


@dataclass(kw_only=True)
class Proxy:
    """`dsn` leads through it. Every connection is its own pair of sockets, cut without ceremony."""

    upstream: Path
    database: str
    port: int = 0
    delay_seconds: float = 0.0
    is_gone: bool = False
    lost_commits: int = 0
    cut_at: bytes | None = None
    """The next connection that says this is cut, and only that one; `has_cut` tells when."""
    has_cut: asyncio.Event = field(default_factory=asyncio.Event)
    has_committed: asyncio.Event = field(default_factory=asyncio.Event)
    _is_silent: bool = False
    _marker: bytes | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{self.database}"

    def lose_commit_after(self, statement: str, *, is_silent: bool = False) -> None:
        """The next transaction that prepares this named statement commits, and its client never hears of it: it is cut
        off, or, where that `is_silent`, waits for as long as it likes. `has_committed` tells when it was done."""
        self._marker, self._is_silent = f"-- name: {statement}\n".encode(), is_silent

    def vanish(self) -> None:
        """Every connection is cut, and new ones are, too, until `come_back`."""
        self.is_gone = True
        for writer in tuple(self._writers):
            writer.transport.abort()

    def come_back(self) -> None:
        self.is_gone = False

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self.is_gone:
            to_client.transport.abort()
            return
        server, to_server = await asyncio.open_unix_connection(str(self.upstream))
        self._writers |= {to_client, to_server}
        answering = asyncio.create_task(self._answer(server, to_client))
        doomed = False
        with suppress(OSError):
            while data := await client.read(_CHUNK):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)  # the slow network is what this plays
                if self.cut_at is not None and self.cut_at in data:
                    self.cut_at = None
                    self.has_cut.set()
                    break
                if self._marker is not None and self._marker in data:
                    doomed, self._marker = True, None
                if doomed and b"COMMIT" in data:
                    answering.cancel()
                    await asyncio.wait((answering,))
                    to_server.write(data)
                    await server.read(_CHUNK)  # the server has committed
                    self.lost_commits += 1
                    self.has_committed.set()
                    if self._is_silent:
                        await client.read()
                    break
                to_server.write(data)
                await to_server.drain()
        answering.cancel()
        for writer in (to_client, to_server):
            self._writers.discard(writer)
            writer.transport.abort()

    async def _answer(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await server.read(_CHUNK):
                to_client.write(data)
                await to_client.drain()
        to_client.transport.abort()


@asynccontextmanager
async def proxy_to(dsn: str) -> AsyncIterator[Proxy]:
    """A proxy to the server behind the unix socket of `dsn`, on a free port."""
    parts = urlsplit(dsn)
    folder = Path(parse_qs(parts.query)["host"][0])
    socket = next(path for path in folder.iterdir() if path.name.startswith(".s.PGSQL.") and path.suffix != ".lock")
    proxy = Proxy(upstream=socket, database=parts.path.lstrip("/"))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        proxy.vanish()
        server.close()
