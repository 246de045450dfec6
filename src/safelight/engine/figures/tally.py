"""The tally: figures that only grow, counted once each from notes that every change leaves in its own transaction.

    image, job, call, message ──(trigger, same transaction)──> tally_notes ──(advance)──> tally

Any process may advance it, one at a time. Taking notes away and adding them up is one transaction, so neither a kill
nor a race counts anything twice, and what commits late is added late.
"""

from __future__ import annotations

import asyncio
import random

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load

BOUNDS_SECONDS = (
    *(0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0),
    *(120.0, 180.0, 300.0, 600.0, 1800.0, 3600.0, 21_600.0, 86_400.0),
)
"""Of every distribution. What was counted under others stays under those. Chosen."""

MODELS_PER_PROVIDER = 50
"""So many have figures of their own, those that came first; all others are `other`. Chosen."""

NOTES_AT_ONCE = 1000
_TICK_SECONDS = 5.0
_BREATH_SECONDS = 0.02

_SQL = load("tally")

log = structlog.get_logger(__name__)


class Tally:
    """`notes_at_once` bounds one step, whatever waits."""

    def __init__(self, pool: asyncpg.Pool, *, notes_at_once: int = NOTES_AT_ONCE) -> None:
        self._pool = pool
        self._notes_at_once = notes_at_once

    async def run(self) -> None:
        """Every few seconds, in every process: whichever comes first does what there is to do."""
        while True:
            try:
                more = await self.advance() == self._notes_at_once
            except Exception as error:  # the next tick makes up for it
                more = False
                log.warning("could not add to the tally", error=type(error).__name__)
            pause = _BREATH_SECONDS if more else _TICK_SECONDS * random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, hides nothing
            await asyncio.sleep(pause)

    async def advance(self, *, acquire_seconds: float = ACQUIRE_SECONDS) -> int:
        """How many notes were added just now; none while another process adds. Raises what the database raises."""
        async with self._pool.acquire(timeout=acquire_seconds) as conn:
            if not await conn.fetchval(_SQL.has_notes):
                return 0
            async with conn.transaction():
                if not await conn.fetchval(_SQL.take_turn):
                    return 0
                return await conn.fetchval(_SQL.advance, self._notes_at_once, list(BOUNDS_SECONDS), MODELS_PER_PROVIDER)
