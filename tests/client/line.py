"""A job's stream over a line that breaks as it is told to, byte by byte."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from safelight.delivery.frames import frame, retry_frame

JOB_ID = "job_01JDTEST000000000000000000"
_RETRY = retry_frame(10)


@dataclass(kw_only=True)
class Line:
    """`log` is what happened: seq 1, 2, 3 …; the job has ended when its last event says so.

    One connection after the other does what `script` says: ends after so many bytes, without or with ceremony, or
    answers something else. When the script is over, whoever comes is served as the service does.
    """

    log: list[str]
    script: list[Cut | bytes] = field(default_factory=list)
    oldest: int = 1
    asked: list[str | None] = field(default_factory=list)
    url: str = ""
    more: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def add(self, *types: str) -> None:
        self.log += types
        self.more.set()

    @property
    def has_ended(self) -> bool:
        return self.log[-1] == "job.completed"

    def snapshot(self) -> bytes:
        status = "completed" if self.has_ended else "generating"
        return frame("snapshot", json.dumps({"id": JOB_ID, "status": status}).encode(), event_id=len(self.log))

    def told(self, seq: int) -> bytes:
        event = {"type": self.log[seq - 1], "timestamp": "2026-11-20T20:00:00Z", "data": {"job_id": JOB_ID, "seq": seq}}
        return frame(event["type"], json.dumps(event).encode(), event_id=seq)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            found = re.search(r"(?im)^last-event-id: (.*)\r$", head)
            self.asked.append(found[1] if found else None)
            step = self.script.pop(0) if self.script else None
            if isinstance(step, bytes):
                writer.write(step)
            else:
                await self._stream(writer, found and int(found[1]), step)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter, after: int | None, cut: Cut | None) -> None:
        if self.has_ended and after == len(self.log):
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        left = cut.bytes_told if cut else None
        async for piece in self._pieces(after):
            if left is not None and left <= len(piece):
                _write_chunk(writer, piece[:left])
                await writer.drain()
                assert cut is not None
                await cut.end(writer)
                return
            left = None if left is None else left - len(piece)
            _write_chunk(writer, piece)
            await writer.drain()
        writer.write(b"0\r\n\r\n")

    async def _pieces(self, after: int | None) -> AsyncIterator[bytes]:
        yield _RETRY
        if after is None or after + 1 < self.oldest:
            if after is not None:
                yield frame("reset", b'{"reason": "expired"}')
            after = len(self.log)
            yield self.snapshot()
        while True:
            while after < len(self.log):
                after += 1
                yield self.told(after)
                yield frame("job.progress", b'{"type": "job.progress", "timestamp": "", "data": {"progress": 7}}')
            if self.has_ended:
                return
            self.more.clear()
            await self.more.wait()

    def close(self) -> None:
        for writer in self._open:
            writer.transport.abort()


@dataclass(frozen=True, kw_only=True)
class Cut:
    """After so many bytes of the stream the connection is torn, closed as if all was well, or silent from then on."""

    bytes_told: int
    how: str = "torn"

    async def end(self, writer: asyncio.StreamWriter) -> None:
        match self.how:
            case "torn":
                writer.transport.abort()
            case "closed":
                writer.write(b"0\r\n\r\n")
            case "silent":
                await asyncio.Event().wait()
            case _:
                raise AssertionError(self.how)


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer of something that is no stream."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    head = "\r\n".join([f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "Connection: close", "", ""])
    return head.encode() + body


@asynccontextmanager
async def opened(line: Line) -> AsyncIterator[Line]:
    handlers: set[asyncio.Task[Any]] = set()

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(line.serve(reader, writer)))

    accept: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None] = serve
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        server.close()
        line.close()
        for each in handlers:
            each.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


def _write_chunk(writer: asyncio.StreamWriter, piece: bytes) -> None:
    if piece:
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
