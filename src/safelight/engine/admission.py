"""Admission: which queued image goes next, and never more than can start now.

The backlog is our `images` rows; dispatch holds only what was admitted, so priorities, retries and a backlog of any
length never touch it. One admission runs at a time; each is a short transaction of its own that takes no job's lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.engine.dispatch import Admitted, enqueue
from safelight.engine.timing import Timing

_SQL = load("admission")

_GAP_SECONDS = 0.02
"""Between two admissions of one process: images that end together are followed by one admission. Chosen."""

log = structlog.get_logger(__name__)


async def admit(
    pool: asyncpg.Pool,
    *,
    max_concurrency: Mapping[str, int],
    requests_per_minute: Mapping[str, int] | None = None,
    lease_seconds: float,
    grace_seconds: float = 15.0,
) -> int:
    """How many images were handed to dispatch: at most each provider's free concurrency, what its requests per minute
    leave, and the free slots. A provider that is paused gets one image as its probe when that is due, or none.

    Calls of any 60 seconds stay within `requests_per_minute`, since an image that was handed out counts as a call until
    it has sent one or come back.
    """
    limits = requests_per_minute or {}
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        await conn.execute(_SQL.lock_admission)
        rows = await conn.fetch(
            _SQL.admit,
            list(max_concurrency.keys()),
            list(max_concurrency.values()),
            [limits.get(name) for name in max_concurrency],
            lease_seconds,
            grace_seconds,
        )
        if not rows:
            return 0
        rows.sort(key=lambda row: (row["priority"], row["not_before"], row["job_id"], row["position"]))
        admitted = [
            Admitted(
                row_id=row["row_id"],
                generation=row["generation"],
                provider=row["provider"] if row["lane"] == "buy" else None,
            )
            for row in rows
        ]
        queue_row_ids = await enqueue(conn, admitted)  # pyright: ignore[reportArgumentType]
        await conn.execute(
            _SQL.note_queue_rows,
            [each.row_id for each in admitted],
            [each.generation for each in admitted],
            queue_row_ids,
        )
    return len(admitted)


class Admission:
    """Runs `admit` when something changed that may let an image start, and once every `admission_seconds`.

    Nudges are coalesced: any number of them while one admission runs, or right after it, lead to one more.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        max_concurrency: Mapping[str, int],
        requests_per_minute: Mapping[str, int] | None = None,
        timing: Timing,
    ) -> None:
        self._pool = pool
        self._max_concurrency = dict(max_concurrency)
        self._requests_per_minute = dict(requests_per_minute or {})
        self._timing = timing
        self._nudged = asyncio.Event()

    def nudge(self) -> None:
        self._nudged.set()

    async def run(self) -> None:
        """Until cancelled. A failed admission is logged and tried again with the next nudge or tick."""
        while True:
            self._nudged.clear()
            try:
                await admit(
                    self._pool,
                    max_concurrency=self._max_concurrency,
                    requests_per_minute=self._requests_per_minute,
                    lease_seconds=self._timing.lease_seconds,
                    grace_seconds=self._timing.grace_seconds,
                )
            except Exception as error:  # the next tick tries again, whatever it was
                log.warning("admission failed", error=type(error).__name__)
                await asyncio.sleep(min(self._timing.admission_seconds, 0.2))
            await asyncio.sleep(_GAP_SECONDS)
            try:
                await asyncio.wait_for(self._nudged.wait(), self._timing.admission_seconds)
            except TimeoutError:
                continue
