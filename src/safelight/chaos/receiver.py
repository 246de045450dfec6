"""A receiver of webhooks that does not always take them, and writes down what came and what it answered."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from safelight.chaos.evidence import Reception, line
from safelight.client.webhooks import NotVerified, verify

_LARGEST_HEAD_BYTES = 65_536


@dataclass(slots=True, kw_only=True)
class Receiver:
    """A tenth of the messages is refused at first, hung on, or taken without an answer, once or twice each; never more
    often, so that none is given up. `secrets` are what they are signed with. `refused` counts those that were not."""

    url: str
    log: Path
    seed: int
    is_faulty: bool = True
    hang_seconds: float = 2.0
    secrets: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    _came: Counter[str] = field(default_factory=Counter)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which may carry many messages."""
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass  # whoever sent it was killed
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode()
        lines = head.decode("latin-1").split("\r\n")[1:]
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines) if name}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        try:
            event = verify(headers, body, self.secrets)
        except NotVerified:
            self.faults["not verified"] += 1
            self._write_down(headers.get("webhook-id", ""), path, {}, answered=400, is_verified=False)
            await self._say(writer, 400)
            return True
        fault = self._fault(headers["webhook-id"])
        self.faults[fault or "taken"] += 1
        status = {"": 200, "500": 500}.get(fault)
        self._write_down(headers["webhook-id"], path, event, answered=status)
        if status is None:
            if fault == "hang":
                await asyncio.sleep(self.hang_seconds)
            return False
        await self._say(writer, status)
        return True

    def _write_down(
        self, message_id: str, path: str, event: Mapping[str, Any], *, answered: int | None, is_verified: bool = True
    ) -> None:
        """Before the answer: what was answered is written down."""
        about = event.get("data", {})
        reception = Reception(
            at=datetime.now(UTC),
            message_id=message_id,
            endpoint=path,
            type=event.get("type", ""),
            job_id=about.get("job_id"),
            seq=about.get("seq"),
            image_id=about.get("image_id"),
            answered=answered,
            is_verified=is_verified,
        )
        with self.log.open("ab") as log:
            log.write(line(reception))

    async def _say(self, writer: asyncio.StreamWriter, status: int) -> None:
        writer.write(f"HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()

    def _fault(self, message_id: str) -> str:
        """By the message and how often it has come."""
        self._came[message_id] += 1
        if not self.is_faulty:
            return ""
        dice = random.Random(f"{self.seed}/{message_id}")  # noqa: S311
        failures = dice.choices((0, 1, 2), weights=(90, 8, 2))[0]
        kinds = dice.choices(("500", "cut", "hang"), weights=(60, 35, 5), k=2)
        return kinds[self._came[message_id] - 1] if self._came[message_id] <= failures else ""


@asynccontextmanager
async def receiving(log: Path, *, seed: int) -> AsyncIterator[Receiver]:
    """It listens on loopback for as long as the block lasts."""
    log.touch()
    receiver = Receiver(url="", log=log, seed=seed)
    server = await asyncio.start_server(receiver.answer, "127.0.0.1", 0, limit=_LARGEST_HEAD_BYTES)
    port = server.sockets[0].getsockname()[1]
    receiver.url = f"http://127.0.0.1:{port}/hook"
    try:
        yield receiver
    finally:
        server.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 1)
