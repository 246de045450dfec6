"""A receiver of webhooks on loopback: keeps every request, and answers as a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

OK = b"HTTP/1.1 204 No Content\r\n\r\n"

Answer = Callable[["Message", asyncio.StreamWriter], Awaitable[None]]


def status(code: int, *headers: str, body: bytes = b"") -> Answer:
    async def answer(_message: Message, writer: asyncio.StreamWriter) -> None:
        head = "\r\n".join([f"HTTP/1.1 {code} So", *headers, f"content-length: {len(body)}", "", ""])
        writer.write(head.encode() + body)
        await writer.drain()

    return answer


async def hang(_message: Message, _writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def drip(_message: Message, writer: asyncio.StreamWriter) -> None:
    """A 200 whose body never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def type(self) -> str:
        return self.document["type"]

    @property
    def seq(self) -> int:
        return self.document["data"]["seq"]

    def verified(self, secret: str) -> dict[str, Any]:
        """As the library of Standard Webhooks reads it. Raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass(slots=True)
class Receiver:
    """`answer` is asked for each message; `messages` are all that came, `taken` those that it answered with 2xx."""

    port: int = 0
    answer: Answer = field(default_factory=lambda: status(204))
    messages: list[Message] = field(default_factory=list)
    open: int = 0
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def of(self, path: str) -> list[Message]:
        return [each for each in self.messages if each.path == path]

    @contextmanager
    def answering(self, answer: Answer) -> Iterator[None]:
        before, self.answer = self.answer, answer
        try:
            yield
        finally:
            self.answer = before

    async def until(self, holds: Callable[[], bool], *, seconds: float = 30.0) -> None:
        """Returns when it holds; asked whenever a message comes or a connection ends."""
        async with asyncio.timeout(seconds):
            while not holds():
                self._came.clear()
                await self._came.wait()

    async def has(self, messages: int) -> None:
        await self.until(lambda: len(self.messages) >= messages)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        try:
            message = await _read(reader)
            self.messages.append(message)
            self._came.set()
            await self.answer(message, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self._came.set()
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def hang_up(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, backlog=512)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await receiver.hang_up()


async def _read(reader: asyncio.StreamReader) -> Message:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    assert first.startswith("POST ")
    body = await reader.readexactly(int(headers["content-length"]))
    return Message(path=first.split(" ")[1], headers=headers, body=body)
