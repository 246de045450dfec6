"""Tells of work that stands still although nothing explains it. It only tells: what acts on images is the sweep.

A standstill is told once, as `image.stuck` in the job's log. It is over when the image moves, and another one is told
again. Until a standstill has lasted long enough it has to be seen in every look: only the database knows when an image
last moved, but nothing knows since when its gate is open again or its provider's line is free. So each process that
watches remembers its suspects; one that starts tells nothing at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

import asyncpg
import structlog

from safelight.db.statements import load
from safelight.domain.events import EventType
from safelight.domain.ids import ImageRowId, JobId
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.stuck import Cause, why_stuck
from safelight.engine.image.journal import append_event, locked_job
from safelight.engine.image.remote import POLL_LIMIT_SECONDS
from safelight.engine.timing import Timing

_SQL = load("stuck")

NOTICE_SECONDS = 60.0
"""With nothing in its way, an image would have moved by then: from then on it is a suspect. Chosen."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many calls each provider is given: at once, and in any 60 seconds. As admission goes by."""

    max_concurrency: Mapping[str, int]
    requests_per_minute: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """An image that stands still, `since` when nothing explains it; `is_told` when this standstill was told.

    `provider` is the one that it waits for. `has_workers`: some worker lives and takes images.
    """

    row_id: ImageRowId
    job_id: JobId
    id: str
    status: ImageStatus
    changed_at: datetime
    provider: str
    since: datetime
    cause: Cause
    is_told: bool
    has_workers: bool
    now: datetime

    @property
    def seconds(self) -> float:
        """How long it has stood still."""
        return (self.now - self.since).total_seconds()

    @property
    def why(self) -> str:
        return why_stuck(self.cause, provider=self.provider, status=self.status)


async def suspects(
    conn: asyncpg.Pool | asyncpg.Connection, bounds: Bounds, *, lease_seconds: float, for_seconds: float
) -> list[Suspect]:
    """What has stood still for so long and is not explained at this moment, longest first. Reads only.

    Of a line of images that does not move, only the first hundred of each account and priority.
    """
    rows = await conn.fetch(
        _SQL.suspects,
        list(bounds.max_concurrency.keys()),
        list(bounds.max_concurrency.values()),
        [bounds.requests_per_minute.get(name) for name in bounds.max_concurrency],
        lease_seconds,
        for_seconds,
        POLL_LIMIT_SECONDS,
    )
    return [Suspect(**{**row, "status": ImageStatus(row["status"]), "cause": Cause(row["cause"])}) for row in rows]


class StuckWatch:
    """Looks every sweep. Any number of processes may watch; a standstill is told once all the same."""

    def __init__(self, pool: asyncpg.Pool, bounds: Bounds, *, timing: Timing) -> None:
        self._pool = pool
        self._bounds = bounds
        self._timing = timing
        self._first_seen: dict[ImageRowId, tuple[datetime, datetime]] = {}
        """When this standstill, which began then, was first seen."""

    async def run(self) -> None:
        while True:
            try:
                if told := await self.look():
                    log.warning("work stands still", images=told)
            except Exception as error:  # the next look begins anew
                log.warning("could not look for stuck work", error=type(error).__name__)
            await asyncio.sleep(self._timing.sweep_seconds)

    async def look(self) -> int:
        """How many standstills were told now."""
        notice_seconds = min(NOTICE_SECONDS, self._timing.stuck_seconds / 2)
        found = await suspects(
            self._pool, self._bounds, lease_seconds=self._timing.lease_seconds, for_seconds=notice_seconds
        )
        seen = self._first_seen
        self._first_seen = {
            each.row_id: before
            if (before := seen.get(each.row_id)) and before[0] == each.since
            else (each.since, each.now)
            for each in found
        }
        surely = timedelta(seconds=self._timing.stuck_seconds - notice_seconds)
        stuck = [
            each
            for each in found
            if not each.is_told
            and each.seconds >= self._timing.stuck_seconds
            and each.now - self._first_seen[each.row_id][1] >= surely
        ]
        return await _tell(self._pool, stuck)


async def _tell(pool: asyncpg.Pool, stuck: Sequence[Suspect]) -> int:
    """Those that still stand where they were seen, one transaction per job."""
    told = 0
    in_order = sorted(stuck, key=lambda each: (each.job_id, each.row_id))
    for job_id, of_job in groupby(in_order, key=lambda each: each.job_id):
        async with locked_job(pool, job_id) as (conn, _job):
            for each in of_job:
                told += await _tell_one(conn, each)
    return told


async def _tell_one(conn: asyncpg.Connection, each: Suspect) -> bool:
    image_id = await conn.fetchval(_SQL.note_stuck, each.row_id, each.status.value, each.changed_at, each.since)
    if image_id is None:
        return False
    data = {"status": each.status.value, "since": each.since.isoformat(), "why": each.why}
    await append_event(conn, each.job_id, EventType.IMAGE_STUCK, image_id=image_id, data=data)
    return True
