"""How far jobs have come, said now and then to those who watch: derived from the images, kept nowhere."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

import asyncpg
import orjson
import structlog

from safelight.db.statements import load
from safelight.delivery.frames import frame
from safelight.domain import progress
from safelight.domain.events import PROGRESS
from safelight.domain.lifecycle import ImageStatus, JobStatus

_PAUSE_SECONDS = 0.5

_SQL = load("feed")

log = structlog.get_logger(__name__)


class Pulse:
    """Tells of each job that has moved how far it is, at most twice a second, once for all who watch it.

    `tell(job_id, frame)` is called with what to send them; what was told before is out of date then.
    """

    def __init__(self, pool: asyncpg.Pool, *, tell: Callable[[str, bytes], None], acquire_seconds: float) -> None:
        self._pool = pool
        self._tell = tell
        self._acquire_seconds = acquire_seconds
        self._moved: set[str] = set()
        self._has_moved = asyncio.Event()

    def touch(self, job_ids: Iterable[str]) -> None:
        """These jobs have moved."""
        self._moved.update(job_ids)
        if self._moved:
            self._has_moved.set()

    async def run(self) -> None:
        """For as long as anybody watches: one question for all jobs that have moved since the one before."""
        while True:
            await self._has_moved.wait()
            self._has_moved.clear()
            moved, self._moved = self._moved, set()
            try:
                for job_id, data in (await self._ask(moved)).items():
                    self._tell(job_id, frame(PROGRESS, data))
            except Exception as error:  # the loop that everybody's progress depends on
                log.warning("cannot look how far jobs have come", error=type(error).__name__)
                self.touch(moved)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask(self, job_ids: Collection[str]) -> dict[str, bytes]:
        async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
            rows = await conn.fetch(_SQL.progress_of_jobs, list(job_ids))
        by_job: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for row in rows:
            by_job[row["id"]].append(dict(row))
        return {job_id: orjson.dumps(progress_envelope(job_id, rows)) for job_id, rows in by_job.items()}


def progress_envelope(job_id: str, rows: Collection[Mapping[str, Any]]) -> dict[str, Any]:
    """How far a job is, as everybody is told, from `progress_of_jobs`: a row for each state that its images are in."""
    counts = progress.count({ImageStatus(row["status"]): row["images"] for row in rows})
    [(status, at)] = {(row["job_status"], row["at"]) for row in rows}
    assert isinstance(at, datetime)
    return {
        "type": PROGRESS,
        "timestamp": at.isoformat(),
        "data": {"job_id": job_id, **progress.report(JobStatus(status), counts)},
    }
