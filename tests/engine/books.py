"""What tests ask of the customers' books, and accounts for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncpg

from safelight.domain.credits import Billing
from safelight.domain.ids import WorkerId
from safelight.domain.order import ImageOrder, JobOrder
from safelight.engine.accounts.accounts import change, ensure, set_daily_budget
from safelight.engine.accounts.audit import disagreements
from safelight.engine.accounts.ledger import EntryKind, add_credit
from tests.engine.test_claim import register
from tests.orders import order

PAYER = "studio"

WAITS_FOR_A_LOCK = """
    SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""
"""How many connections to this database wait for what another one holds."""


async def open_account(
    pool: asyncpg.Pool,
    account: str = PAYER,
    *,
    billing: Billing = Billing.CREDITS,
    paid_in: int = 0,
    daily_budget_microusd: int | None = None,
) -> None:
    await ensure(pool, account, billing=billing)
    await change(pool, account, billing=billing)
    if paid_in:
        await add_credit(pool, account, paid_in, kind=EntryKind.TOP_UP, reason=None, idempotency_key=None)
    if daily_budget_microusd is not None:
        await set_daily_budget(pool, account, daily_budget_microusd)


def billed_order(
    *images: ImageOrder, account: str = PAYER, max_cost_microusd: int | None = None, **job: Any
) -> JobOrder:
    return replace(order(*images, **job), account=account, max_cost_microusd=max_cost_microusd)


async def register_for_all(pool: asyncpg.Pool) -> WorkerId:
    """A worker that serves every provider of these tests."""
    worker_id = await register(pool)
    await pool.execute("UPDATE workers SET providers = '{placeholder,gemini}' WHERE id = $1", worker_id)
    return worker_id


async def balance(pool: asyncpg.Pool, account: str = PAYER) -> tuple[int, int, int]:
    """Available, held, captured."""
    row = await pool.fetchrow("SELECT available, held, captured FROM balances WHERE account = $1", account)
    return tuple(row) if row is not None else (0, 0, 0)


async def day_of(pool: asyncpg.Pool, account: str = PAYER) -> tuple[int, int, int]:
    """Held, spent and overage of today, in micro-USD."""
    row = await pool.fetchrow(
        "SELECT held_microusd, spent_microusd, overage_microusd FROM account_days WHERE account = $1 AND day = today()",
        account,
    )
    return tuple(row) if row is not None else (0, 0, 0)


async def entry_kinds(pool: asyncpg.Pool, account: str = PAYER) -> list[str]:
    rows = await pool.fetch("SELECT kind FROM ledger WHERE account = $1 ORDER BY id", account)
    return [row["kind"] for row in rows]


async def assert_books_balance(pool: asyncpg.Pool, *, within_budget: bool = True, account: str | None = None) -> None:
    """At any commit: balances are the sums of their entries, a day's figures those of its calls, what is held and spent
    exceeds no budget but by what was flagged, and no hold outlives its image's end."""
    assert not await disagreements(pool)
    over = await pool.fetch(
        "SELECT d.* FROM account_days AS d JOIN accounts AS a ON a.id = d.account"
        " WHERE d.held_microusd + d.spent_microusd > a.daily_budget_microusd + d.overage_microusd"
        " AND d.day = today() AND ($1::text IS NULL OR a.id = $1)",
        account,
    )
    assert not (over and within_budget)
    left_behind = await pool.fetch(
        "SELECT i.status, h.run FROM holds AS h JOIN images AS i ON i.row_id = h.image_row_id WHERE h.status = 'held'"
        " AND (h.run <> i.run OR i.status IN ('completed', 'failed', 'refused', 'canceled'))"
    )
    assert left_behind == []
    doubled = await pool.fetch(
        "SELECT hold_id FROM ledger WHERE kind IN ('capture', 'release') GROUP BY hold_id HAVING count(*) > 1"
    )
    assert not doubled


async def assert_holds_at_rest(pool: asyncpg.Pool, *, window_seconds: float, account: str = PAYER) -> None:
    """With nothing under way, what is held is held for images of unknown outcome in their window, and nothing else."""
    expected = await pool.fetch(
        "SELECT row_id FROM images WHERE status = 'uncertain' AND quote > 0"
        " AND completed_at > safelight.now() - make_interval(secs => $1)",
        window_seconds,
    )
    held = await pool.fetch(
        "SELECT i.row_id, i.status, i.run, h.run AS held_run, i.stop FROM holds AS h JOIN images AS i"
        " ON i.row_id = h.image_row_id WHERE h.status = 'held' AND h.account = $1",
        account,
    )
    assert [row for row in held if row["row_id"] not in {each["row_id"] for each in expected}] == []
