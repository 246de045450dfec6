"""Looks at the database from beside during a soak: how much is open, when a dead worker's images are taken up again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from safelight.chaos.collect import sightings
from safelight.chaos.evidence import Sighting
from safelight.db.pool import TRANSIENT
from safelight.db.statements import load
from safelight.storage.staging import Staging

_SQL = load("chaos")

_LOOK_SECONDS = 0.2
_COUNT_SECONDS = 1.0
_FOLLOW_SECONDS = 90.0


@dataclass(slots=True, kw_only=True)
class Watch:
    """`open_images` is a second old. `reclaim_seconds` are those from a SIGKILL until another worker had the image, or
    it had been put back for one; `struck_twice_seconds` the same where its queue row had been brought to a second one
    that failed before it had claimed it, and `delayed_seconds` where PostgreSQL was away at that time: `outages` counts
    each time that it goes and comes. `unclaimed` are those that were not seen to be within 90 seconds."""

    dsn: str
    staging: Staging
    open_images: int = 0
    reclaim_seconds: list[float] = field(default_factory=list)
    delayed_seconds: list[float] = field(default_factory=list)
    struck_twice_seconds: list[float] = field(default_factory=list)
    unclaimed: int = 0
    outages: int = 0
    sightings: list[Sighting] = field(default_factory=list)
    _connection: asyncpg.Connection | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def count(self) -> None:
        """Runs until it is cancelled."""
        while True:
            found = await self.ask(_SQL.open_images)
            if found is not None:
                self.open_images = found[0][0]
            await asyncio.sleep(_COUNT_SECONDS)

    async def follow_dead(self, pid: int, *, killed_at: float) -> list[float]:
        """Returns when all that this process had owned when it died (monotonic `killed_at`) is somebody else's: after
        how many seconds each."""
        outages, took, dropped = self.outages, list[float](), dict[int, UUID]()
        self.sightings += await sightings(self.staging)
        ends_at = killed_at + _FOLLOW_SECONDS
        rows = None
        while rows is None and time.monotonic() < ends_at:
            rows = await self.ask(_SQL.held_by_process, pid)
        claims = {row["row_id"]: row["claim_token"] for row in rows or ()}
        while claims and time.monotonic() < ends_at:
            await asyncio.sleep(_LOOK_SECONDS)
            for row in await self.ask(_SQL.claims, list(claims)) or ():
                if row["dropped_by"] is not None:
                    dropped.setdefault(row["row_id"], row["dropped_by"])
                if row["claim_token"] != claims[row["row_id"]]:
                    del claims[row["row_id"]]
                    took.append(time.monotonic() - killed_at)
                    # Whoever takes its time and then has it after all has not failed.
                    is_struck = dropped.get(row["row_id"], row["brought_to"]) != row["brought_to"]
                    self._times(is_delayed=outages != self.outages, is_struck=is_struck).append(took[-1])
        self.unclaimed += len(claims)
        return took

    def _times(self, *, is_delayed: bool, is_struck: bool) -> list[float]:
        """Where such a time belongs."""
        if is_delayed:
            return self.delayed_seconds
        return self.struck_twice_seconds if is_struck else self.reclaim_seconds

    async def unfinished(self) -> dict[str, int] | None:
        """How much of what is still under way; None when the database does not answer."""
        found = await self.ask(_SQL.unfinished)
        return {name: count for name, count in found[0].items() if count} if found else None

    async def given_up(self) -> dict[str, int]:
        """Messages that nobody tries to deliver any more. The receiver takes each at the third time: there are none."""
        [row] = await self._asked(_SQL.given_up)
        return {name: count for name, count in row.items() if count}

    async def completed(self) -> list[tuple[str, str]]:
        """Job and image of every picture that can be fetched."""
        return [(row["job_id"], row["id"]) for row in await self._asked(_SQL.completed)]

    async def _asked(self, statement: str) -> list[asyncpg.Record]:
        """Raises TimeoutError when the database stays away."""
        async with asyncio.timeout(_FOLLOW_SECONDS):
            while (rows := await self.ask(statement)) is None:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)
            return rows

    async def ask(self, statement: str, *values: Any) -> list[asyncpg.Record] | None:
        """None when the database is away; it is asked anew the next time."""
        async with self._turn:
            try:
                connection = self._connection
                if connection is None or connection.is_closed():
                    connection = self._connection = await asyncpg.connect(
                        self.dsn, timeout=5, command_timeout=10, server_settings={"search_path": "safelight"}
                    )
                return await connection.fetch(statement, *values)
            except TRANSIENT:
                await self._drop()
                return None

    async def close(self) -> None:
        async with self._turn:
            await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*TRANSIENT):
                await connection.close(timeout=2)
        else:
            await asyncio.sleep(_LOOK_SECONDS)
