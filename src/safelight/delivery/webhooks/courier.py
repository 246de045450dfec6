"""The courier: takes lanes whose time has come, and visits each in a task of its own.

What waits is in the lanes' rows alone. They are looked for by index, a few for each endpoint at a time, so that
endpoints that hang delay no other one; an event's transaction tells nobody (see the decision on NOTIFY). A lane whose
courier died is taken again when its lease has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import asyncpg
import structlog

from safelight.db.statements import load
from safelight.delivery.links import Links
from safelight.delivery.webhooks.schedule import Schedule
from safelight.delivery.webhooks.vault import Vault
from safelight.delivery.webhooks.visit import CourierPoint, Pace, Route, Visit
from safelight.net.post import Post

_SQL = load("courier")

_GAP_SECONDS = 0.01
"""Between two looks for lanes: visits that end together make room together. Chosen."""
_KEEP = timedelta(days=30)
_FORGET_BATCH = 1000

log = structlog.get_logger(__name__)


class Courier:
    """One process's. `pool` gives jsonb as Python values, and had better not be that of what must not wait for it.

    `run` and `stop` are what a worker asks of everything that runs beside its images.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        post: Post,
        vault: Vault,
        links: Links,
        pace: Pace | None = None,
        schedule: Schedule | None = None,
        reach: Callable[[CourierPoint], None] = lambda _point: None,
    ) -> None:
        self._stopping = asyncio.Event()
        self._nudged = asyncio.Event()
        self._visits: set[asyncio.Task[None]] = set()
        self._route = Route(
            pool=pool,
            post=post,
            vault=vault,
            links=links,
            pace=pace or Pace(),
            schedule=schedule or Schedule(),
            reach=reach,
            stopping=self._stopping,
        )

    def stop(self) -> None:
        """Nothing new is taken; messages under way are answered, or run out of their time."""
        self._stopping.set()
        self._nudged.set()

    async def run(self) -> None:
        """Until `stop`, and then until the last visit has ended. Survives any loss of the database."""
        while not self._stopping.is_set():
            self._nudged.clear()
            try:
                await self._take()
            except Exception as error:  # the next look makes up for it, whatever it was
                log.warning("cannot look for webhooks", error=type(error).__name__)
                await asyncio.sleep(self._route.pace.poll_seconds)
            await self._rest()
        if self._visits:
            await asyncio.wait(self._visits)

    async def _take(self) -> None:
        pace = self._route.pace
        free = pace.slots - len(self._visits)
        if not free:
            return
        asked_at = time.monotonic()
        free_of_half, free_of_most = (most - len(self._visits) for most in (pace.slots // 2, pace.slots * 7 // 8))
        sites = (pace.per_site, pace.lease_seconds, pace.failing_seconds, pace.per_site_when_full)
        limits = (free, *sites, free_of_half, free_of_most)
        for row in await self._route.pool.fetch(_SQL.claim_lanes, *limits):
            visit = Visit(self._route, row["endpoint_id"], row["lane"], row["claim_token"], claimed_at=asked_at)
            task = asyncio.create_task(self._make(visit))
            self._visits.add(task)
            task.add_done_callback(self._ended)

    async def _make(self, visit: Visit) -> None:
        try:
            await visit.make()
        except Exception as error:  # the one place around a visit: its lane is taken again when the lease has ended
            log.warning(
                "a visit to a webhook's lane broke off", endpoint_id=visit.endpoint_id, error=type(error).__name__
            )

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._visits.discard(task)
        self._nudged.set()

    async def _rest(self) -> None:
        await asyncio.sleep(_GAP_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._route.pace.poll_seconds):
                await self._nudged.wait()


async def forget_old(pool: asyncpg.Pool, *, older_than: timedelta = _KEEP) -> int:
    """How many messages were removed that ended before then, with lanes and secrets that nobody needs any more."""
    await pool.execute(_SQL.forget_secrets)
    removed = 0
    while batch := await pool.fetchval(_SQL.forget_deliveries, older_than, _FORGET_BATCH):
        removed += batch
    return removed
