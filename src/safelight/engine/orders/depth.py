"""How much may wait: a submit beyond it is refused, so that a queue nobody can work off does not grow without end.

What waits is counted now and then, and between two counts whatever was inserted since is taken to wait still: too much,
never too little. So a submit far below a limit counts nothing, one near it counts first, and no row is locked. What can
pass a limit are submits that are under way at the same time, and retries, which are never refused.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import asyncpg

from safelight.db.statements import load
from safelight.domain.errors import Unavailable

_SQL = load("submit")

RETRY_SECONDS = 15
"""After which a submit that was refused may come again. Chosen."""

_GOOD_SECONDS = 5.0
"""A count is made anew then: images that were queued again by a retry are in no other figure. Chosen."""

_FULL_SECONDS = 0.25
"""For so long after a count that found no room, none is made. Chosen."""

_MOST_KNOWN = 1000


@dataclass(frozen=True, slots=True)
class _Count:
    """What waited when it was counted, and how many images had ever been inserted."""

    queued: int
    inserted: int
    counted_at: float


class QueueDepth:
    """One for each process. `most` is for the whole installation, None: any number; accounts have their own besides."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._counts: dict[str | None, _Count] = {}

    async def require_room(
        self, conn: asyncpg.Connection, account: str, images: int, *, inserted: int, most_of_account: int | None
    ) -> None:
        """So many images more may wait. `inserted` is how many have been so far, of all accounts.

        Raises Unavailable (`queue-full`).
        """
        if self._most is not None and not await self._has_room(conn, None, images, inserted, self._most):
            raise _full(f"At most {self._most} images may wait here, and these would be more.")
        if most_of_account is not None and not await self._has_room(conn, account, images, inserted, most_of_account):
            raise _full(f"At most {most_of_account} images of the account `{account}` may wait.")

    async def _has_room(
        self, conn: asyncpg.Connection, account: str | None, images: int, inserted: int, most: int
    ) -> bool:
        if images > most:
            return False
        known = self._counts.get(account)
        age = time.monotonic() - known.counted_at if known is not None else _GOOD_SECONDS
        if known is not None and age < _GOOD_SECONDS:
            if known.queued + max(inserted - known.inserted, 0) + images <= most:
                return True
            if age < _FULL_SECONDS and known.queued + images > most:
                return False
        if len(self._counts) >= _MOST_KNOWN:
            self._counts.clear()
        queued = await _count(conn, account, most)
        self._counts[account] = _Count(queued, inserted, time.monotonic())
        return queued + images <= most


async def _count(conn: asyncpg.Connection, account: str | None, most: int) -> int:
    """Images that wait, as far as `most`."""
    if account is None:
        counted = await conn.fetchval(_SQL.count_queued, most)
    else:
        counted = await conn.fetchval(_SQL.count_queued_of, account, most)
    return counted or 0


def _full(detail: str) -> Unavailable:
    return Unavailable(detail, slug="queue-full", retry_after_seconds=RETRY_SECONDS)
