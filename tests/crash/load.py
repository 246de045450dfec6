"""Clients that go on ordering while something breaks, and what each of them was told."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import httpx2

from tests.api.conftest import image, job

UNANSWERED = 0
"""In the place of a status: the connection broke, and the client does not know."""


@dataclass(slots=True, kw_only=True)
class Told:
    """What clients heard. `acknowledged` is by idempotency key; `accepted_at` are monotonic moments of each 202."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    accepted_at: list[float] = field(default_factory=list)
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)

    def first_accepted_after(self, moment: float) -> float:
        return next(at for at in self.accepted_at if at > moment)

    async def has_accepted(self, more: int, *, seconds: float = 60.0) -> None:
        """Returns when so many more jobs were accepted."""
        wanted = len(self.accepted_at) + more
        async with asyncio.timeout(seconds), self._heard:
            await self._heard.wait_for(lambda: len(self.accepted_at) >= wanted)

    async def note(self, key: str, job_id: str) -> None:
        async with self._heard:
            self.accepted_at.append(time.monotonic())
            self.acknowledged[key] = job_id
            self._heard.notify_all()


@asynccontextmanager
async def ordering(client: httpx2.AsyncClient, *, clients: int) -> AsyncIterator[Told]:
    """So many clients order one picture after the other, each under a key of its own, and ask again under the same key
    until they are told; at the end of the block each goes on until its last order was accepted."""
    told, is_over = Told(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(_order(client, told, f"client-{number}", is_over))
        try:
            yield told
        finally:
            is_over.set()


async def _order(client: httpx2.AsyncClient, told: Told, name: str, is_over: asyncio.Event) -> None:
    orders = 0
    while not is_over.is_set():
        key, orders = f"{name}-{orders}", orders + 1
        async with asyncio.timeout(60):
            while key not in told.acknowledged:
                if not await _is_told(client, told, key):
                    await asyncio.sleep(0.05)  # as a client does that was asked to come again


async def _is_told(client: httpx2.AsyncClient, told: Told, key: str) -> bool:
    wish = job(images=[image("one", provider="placeholder")])
    try:
        answer = await client.post("/v1/jobs", json=wish, headers={"Idempotency-Key": key})
    except httpx2.TransportError:
        told.statuses[UNANSWERED] += 1
        return False
    told.statuses[answer.status_code] += 1
    if answer.status_code != 202:
        return False
    await told.note(key, answer.json()["id"])
    return True


async def assert_kept_once(pool: asyncpg.Pool, told: Told) -> None:
    """Whatever was acknowledged is there, under its key and no other, completed; nothing is there that nobody ordered,
    and no client was told that the fault was its own, or ours."""
    rows = await pool.fetch("SELECT id, idempotency_key, status FROM jobs")
    assert {row["idempotency_key"]: row["id"] for row in rows} == told.acknowledged
    assert {row["status"] for row in rows} == {"completed"}
    assert await pool.fetchval("SELECT count(*) FROM images") == len(rows)
    ends = "SELECT count(*) FROM events WHERE type LIKE 'job.%ed' AND type NOT IN ('job.created', 'job.started')"
    assert await pool.fetchval(ends) == len(rows)
    assert set(told.statuses) <= {202, 503, UNANSWERED}, told.statuses
