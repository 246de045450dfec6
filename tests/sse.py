"""Server-sent events as a client sees them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

TERMINAL = ("job.completed", "job.partial", "job.failed", "job.canceled")


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a stream. `id` is None where it has none."""

    type: str
    data: Any
    id: int | None


class Stream:
    """What one answer tells. `last_id` is what a client would come back with."""

    def __init__(self, response: httpx2.Response) -> None:
        self.response = response
        self.comments = 0
        self.last_id: int | None = None
        self._lines = response.aiter_lines()

    async def next(self, *, progress: bool = False) -> Told | None:
        """The next event; None at the end. Progress is passed over unless it is asked for."""
        event, data, event_id = "message", "", None
        async for line in self._lines:
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif name == "event":
                event = value
            elif name == "data":
                data = value
            elif name == "id":
                event_id = int(value)
            elif not line and data:
                if event_id is not None:
                    self.last_id = event_id
                if progress or event != "job.progress":
                    return Told(event, json.loads(data), event_id)
                event, data, event_id = "message", "", None
        return None

    async def rest(self) -> list[Told]:
        """Everything up to the end, without progress."""
        told = []
        while (each := await self.next()) is not None:
            told.append(each)
        return told

    async def take(self, count: int) -> list[Told]:
        told = [await self.next() for _ in range(count)]
        assert None not in told, "the stream has ended"
        return told  # pyright: ignore[reportReturnType]


@asynccontextmanager
async def stream(
    client: httpx2.AsyncClient, job_id: str, *, after: int | None = None, last_event_id: object = None
) -> AsyncIterator[Stream]:
    headers = {"Accept": "text/event-stream"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = str(last_event_id)
    params = {} if after is None else {"after": after}
    async with client.stream("GET", f"/v1/jobs/{job_id}/events", params=params, headers=headers) as response:
        yield Stream(response)
