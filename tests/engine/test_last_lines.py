"""What the database itself refuses, whatever the code above it does; and fences that no ordinary way comes by."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from safelight.domain.attempts import GiveUp
from safelight.domain.credits import Billing
from safelight.domain.errors import BudgetExceeded, ErrorKind
from safelight.engine.image import settle
from safelight.engine.image.lease import LEASE_LOST
from safelight.engine.orders.submit import submit
from tests.engine.books import PAYER, assert_books_balance, balance, billed_order, open_account
from tests.engine.by_hand import lost_lease
from tests.orders import image, images_of, until

SPENT = GiveUp(ErrorKind.TEMPORARY, "VENDOR_FAILING", "Said no.", at_provider=True)


async def test_a_key_belongs_to_one_job(pool: asyncpg.Pool) -> None:
    insert = (
        "INSERT INTO jobs (id, account, idempotency_key, request_fingerprint, outputs, metadata, deadline_seconds,"
        " on_deadline, run_started_at, deadline_at, run_ends_at, created_at)"
        " SELECT $1, 'default', 'k', 'x', '[]', '{}', 60, 'continue', t.at, t.at, t.at, t.at"
        " FROM (SELECT safelight.now() AS at) AS t"
    )
    await pool.execute(insert, "job_1")
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(insert, "job_2")


async def test_a_picture_is_held_for_once_in_a_run_and_its_hold_ends_once(pool: asyncpg.Pool) -> None:
    await open_account(pool, paid_in=3)
    await submit(pool, billed_order(image("one")), run_limit_seconds=3600)
    copied = "account, currency, job_id, image_row_id, run, amount, created_at"
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(f"INSERT INTO holds ({copied}) SELECT {copied} FROM holds")
    ends = "SELECT resolve_hold(image_row_id, run, $1) FROM holds"
    assert await pool.fetchval(ends, True) is True
    try:
        assert await pool.fetchval(ends, False) is False, "it has ended"
    except asyncpg.PostgresError as error:
        pytest.fail(f"only the last line refused a second end: {error}")
    assert await balance(pool) == (2, 0, 1)
    entered = "at, account, currency, kind, debit, credit, amount, available_after, held_after, hold_id"
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(f"INSERT INTO ledger ({entered}) SELECT {entered} FROM ledger WHERE kind = 'capture'")
    await assert_books_balance(pool)


async def test_no_entry_of_the_ledger_is_changed_or_taken_away(pool: asyncpg.Pool) -> None:
    await open_account(pool, paid_in=3)
    for change in ("UPDATE ledger SET amount = 1", "DELETE FROM ledger", "TRUNCATE ledger"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await pool.execute(change)


async def test_of_two_orders_that_look_at_a_budget_at_once_one_waits_for_the_other(pool: asyncpg.Pool) -> None:
    """Each would find room if it did not see what the other one has set aside and not committed."""
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=60_000)
    wish = billed_order(image("one", estimate_microusd=40_000))
    async with pool.acquire() as conn:
        held = conn.transaction()
        await held.start()
        await conn.execute("SELECT take_account($1)", PAYER)
        both = [asyncio.create_task(submit(pool, wish, run_limit_seconds=3600)) for _ in range(2)]
        waiting = "SELECT count(*) = 2 FROM pg_locks WHERE NOT granted"
        try:
            assert await until(pool, waiting, seconds=1.5), "both wait for the account"
        except TimeoutError:
            pytest.fail("an order looks at the budget of an account that is somebody else's now")
        finally:
            await held.commit()
            answers = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(isinstance(each, BudgetExceeded) for each in answers) == [False, True]
    await assert_books_balance(pool)


async def test_whoever_lost_its_lease_sends_the_image_to_no_other_provider(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    job_id, stale = await lost_lease(pool, queue)
    targets = [{"provider": "placeholder", "model": "placeholder-1", "options": {}, "timeout_seconds": 10.0}] * 2
    await pool.execute("UPDATE images SET targets = $1", targets)
    before = await images_of(pool, job_id)
    assert await settle.give_up(pool, replace(stale, has_next_provider=True), SPENT) is LEASE_LOST
    assert await images_of(pool, job_id) == before


async def test_whoever_lost_its_lease_hands_nothing_back(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    job_id, stale = await lost_lease(pool, queue)
    before = await images_of(pool, job_id)
    assert await settle.hand_back(pool, stale, retry_unit_seconds=1) is LEASE_LOST
    assert await images_of(pool, job_id) == before
