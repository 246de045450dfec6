"""Accounts: who pays, what they pay with, what may be bought for them, and their share of what runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import asyncpg

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.credits import Billing
from safelight.domain.errors import NotFound

_SQL = load("accounts")
_CHARGE = load("charge")

Database = asyncpg.Pool | asyncpg.Connection
"""Where a single statement can run: a transaction's connection, or any connection of the pool."""

KEEP = object()
"""For a field that stays as it is, where None means something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """`available`, `held` and `captured` are credits or micro-USD, as it is billed, 0 without billing. The figures of
    the `day`, which is today (UTC), count for its budget; `max_concurrency`, of images that are being made, and
    `max_queued`, of those that wait, None: no limit of its own."""

    id: str
    billing: Billing
    weight: int
    max_concurrency: int | None
    max_queued: int | None
    daily_budget_microusd: int | None
    created_at: datetime
    available: int
    held: int
    captured: int
    day: date
    day_held_microusd: int
    day_spent_microusd: int
    day_overage_microusd: int

    @property
    def day_left_microusd(self) -> int | None:
        """None without a budget."""
        if self.daily_budget_microusd is None:
            return None
        return max(self.daily_budget_microusd - self.day_held_microusd - self.day_spent_microusd, 0)


async def ensure(conn: Database, account_id: str, *, billing: Billing = Billing.NONE) -> None:
    """The account exists afterwards; a new one is billed this way, and one that was there stays as it is."""
    await conn.execute(_SQL.ensure, account_id, billing.value)


async def account_of(conn: Database, account_id: str) -> Account:
    """Raises NotFound."""
    rows = await conn.fetch(_SQL.page, account_id, None, 1)
    if not rows:
        raise no_such_account()
    return _account(rows[0])


async def accounts_after(conn: Database, after: str | None, *, limit: int) -> list[Account]:
    """In the order of their ids."""
    return [_account(row) for row in await conn.fetch(_SQL.page, None, after, limit)]


async def change(
    conn: Database,
    account_id: str,
    *,
    billing: Billing | None = None,
    weight: int | None = None,
    max_concurrency: int | object | None = KEEP,
    max_queued: int | object | None = KEEP,
) -> None:
    """What is given changes, for what is ordered from now on; accepted jobs keep their holds. Raises NotFound."""
    limited, bounded = max_concurrency is not KEEP, max_queued is not KEEP
    changed = await conn.fetchval(
        _SQL.change,
        account_id,
        billing.value if billing is not None else None,
        weight,
        limited,
        max_concurrency if limited else None,
        bounded,
        max_queued if bounded else None,
    )
    if changed is None:
        raise no_such_account()


async def set_daily_budget(pool: asyncpg.Pool, account_id: str, budget_microusd: int | None) -> None:
    """What calls for the account may cost on a day (UTC), from today on; None: as much as they do.

    Calls that were made today count. What waits is asked again before it is bought. Raises NotFound.
    """
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        if budget_microusd is not None:
            await conn.execute(_SQL.lock_today, account_id)
        await conn.execute(_CHARGE.take_account, account_id)
        if await conn.fetchval(_SQL.set_budget, account_id, budget_microusd) is None:
            raise no_such_account()
        if budget_microusd is not None:
            await conn.execute(_SQL.count_today, account_id)
            await conn.execute(_SQL.tell_thresholds, account_id)


def no_such_account() -> NotFound:
    return NotFound("There is no such account.")


def _account(row: asyncpg.Record) -> Account:
    return Account(**{**row, "billing": Billing(row["billing"])})
