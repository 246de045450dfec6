"""A timetable whose clock a test sets, and whoever ticks over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg

from safelight.domain.errors import Fault, InvalidRequest
from safelight.domain.fingerprint import fingerprint
from safelight.domain.ids import ScheduleId
from safelight.domain.order import JobOrder
from safelight.engine.schedules.due import Schedules
from safelight.engine.schedules.timetable import Terms, add
from tests.orders import image, order

ACCOUNT = "default"
BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


async def set_clock(pool: asyncpg.Pool, moment: datetime) -> None:
    await pool.execute("UPDATE installation SET clock_shift = $1::timestamptz - clock_timestamp()", moment)


def daily(name: str = "daily", **terms: Any) -> Terms:
    return Terms(**{"name": name, "cron": "0 18 * * *", "timezone": BERLIN, "job": {}, **terms})


@dataclass(kw_only=True)
class Desk:
    """Places orders of one image. A template says what it is refused for, `refuse`, or what breaks, `breaks`; one that
    `meets` trouble does while there is some."""

    documents: list[Mapping[str, Any]] = field(default_factory=list)
    trouble: Exception | None = None

    def __call__(
        self, document: Mapping[str, Any], *, account: str, idempotency_key: str | None, styles: object = None
    ) -> JobOrder:
        self.documents.append(document)
        if "refuse" in document:
            fault = Fault("/defaults/model", "was retired")
            raise InvalidRequest(document["refuse"], slug="unknown-model", faults=(fault,))
        if "breaks" in document:
            raise RuntimeError(document["breaks"])
        if "meets" in document and self.trouble is not None:
            raise self.trouble
        placed = order(image("a"), key=idempotency_key)
        return JobOrder(
            **{name: getattr(placed, name) for name in placed.__slots__}
            | {"body_fingerprint": fingerprint(document), "metadata": document.get("metadata", {})}
        )


@dataclass(kw_only=True)
class Office:
    """A timetable and one process that ticks over it."""

    pool: asyncpg.Pool
    desk: Desk = field(default_factory=Desk)

    def process(self, **settings: Any) -> Schedules:
        return Schedules(self.pool, self.desk, run_limit_seconds=3600.0, **settings)

    async def open(self, terms: Terms, *, since: str) -> ScheduleId:
        """The schedule, as somebody made it at that time."""
        await set_clock(self.pool, at(since, terms.timezone))
        return await add(self.pool, ACCOUNT, terms)

    async def tick_at(self, *moments: str, zone: str = BERLIN) -> None:
        for moment in moments:
            await set_clock(self.pool, at(moment, zone))
            await self.process().tick()

    async def jobs(self) -> list[str]:
        return [row["id"] for row in await self.pool.fetch("SELECT id FROM jobs ORDER BY id")]

    async def runs(self) -> list[tuple[str, str]]:
        """Local time and status of every run, in order."""
        rows = await self.pool.fetch(
            "SELECT r.scheduled_at AT TIME ZONE s.timezone AS local, status FROM schedule_runs AS r"
            " JOIN schedules AS s ON s.id = r.schedule_id ORDER BY r.id"
        )
        return [(f"{row['local']:%m-%d %H:%M}", row["status"]) for row in rows]

    async def next_run(self) -> str | None:
        local = await self.pool.fetchval("SELECT next_run_at AT TIME ZONE timezone FROM schedules")
        return f"{local:%m-%d %H:%M}" if local is not None else None

    async def notices(self) -> list[asyncpg.Record]:
        return await self.pool.fetch("SELECT * FROM notices ORDER BY id")
