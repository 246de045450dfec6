"""The doctor adds up the customers' books."""

from __future__ import annotations

import asyncpg

from safelight.domain.checkup import Verdict
from safelight.engine.accounts.audit import books_check
from safelight.engine.orders.submit import submit
from tests.engine.books import billed_order, open_account
from tests.orders import image


async def test_the_doctor_says_nothing_of_books_that_nobody_keeps(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        assert await books_check(conn, area="work") is None  # pyright: ignore[reportArgumentType]


async def test_the_doctor_finds_a_balance_that_is_not_the_sum_of_its_entries(pool: asyncpg.Pool) -> None:
    await open_account(pool, paid_in=5, daily_budget_microusd=100_000)
    await submit(pool, billed_order(image("one")), run_limit_seconds=3600)
    async with pool.acquire() as conn:
        check = await books_check(conn, area="work")  # pyright: ignore[reportArgumentType]
        assert check is not None
        assert (check.verdict, check.found) == (
            Verdict.OK,
            "the books balance; 1 holds open, 0 of them for images of unknown outcome",
        )
        await conn.execute("UPDATE balances SET available = available + 1")
        await conn.execute("UPDATE account_days SET held_microusd = 0")
        check = await books_check(conn, area="work")  # pyright: ignore[reportArgumentType]
        assert check is not None
        assert (check.verdict, check.found) == (Verdict.PROBLEM, "the books do not balance: 1 × balance, 1 × day")
