"""What is held for a picture is captured when it is delivered and given back when it is not, once."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from safelight.domain.attempts import OnUncertain
from safelight.domain.credits import Billing, CreditPrices
from safelight.domain.errors import BudgetExceeded, InvalidRequest
from safelight.domain.ids import AttemptId, JobId
from safelight.domain.lifecycle import ImageStatus
from safelight.engine.accounts.ledger import statement
from safelight.engine.image import provider_book, settle
from safelight.engine.image.lease import Hint, Lease, claim
from safelight.engine.image.outcome import End, no_answer
from safelight.engine.orders.control import CancelMode, cancel, retry
from safelight.engine.orders.submit import submit
from safelight.providers.provider import RemoteHandle
from safelight.settings import Settings
from tests.engine.books import (
    PAYER,
    WAITS_FOR_A_LOCK,
    assert_books_balance,
    assert_holds_at_rest,
    balance,
    billed_order,
    entry_kinds,
    open_account,
    register_for_all,
)
from tests.engine.by_hand import (
    LONG_LEASE_SECONDS,
    admit_again,
    pass_time,
    picture,
    pipeline_of,
    receipt_of,
    run,
    swept,
)
from tests.engine.test_budgets import opened
from tests.orders import image, images_of, until, vendor_image

PRICES = CreditPrices(default=3, by_model={"placeholder-1": 5, "gemini/other": 7})


async def ordered(pool: asyncpg.Pool, *images: object, **job: object) -> JobId:
    accepted = await submit(pool, billed_order(*images, **job), run_limit_seconds=3600, prices=PRICES)  # pyright: ignore[reportArgumentType]
    return accepted.job_id


async def test_a_delivered_picture_is_captured_at_its_quote(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await open_account(pool, paid_in=12)
    job_id = await ordered(pool, image("one"))
    assert await balance(pool) == (7, 5, 0)
    async with pipeline_of(settings, pool, await register_for_all(pool)) as pipeline:
        await run(pipeline, await admit_again(pool, queue))
    assert (await images_of(pool, job_id))[0]["status"] == "completed"
    assert await balance(pool) == (7, 0, 5)
    assert await entry_kinds(pool) == ["top_up", "hold", "capture"]
    newest = (await statement(pool, PAYER, before=None, limit=1))[0]
    assert (newest.image_id, newest.amount, newest.available_after, newest.held_after) == ("one", 5, 7, 0)
    await assert_books_balance(pool)


async def test_a_refused_picture_costs_the_account_nothing_whatever_it_cost_us(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await open_account(pool, billing=Billing.USD, paid_in=100_000)
    job_id = await ordered(pool, vendor_image("one", "refuse IMAGE_SAFETY"))
    assert await balance(pool) == (60_000, 40_000, 0)
    async with pipeline_of(settings, pool, await register_for_all(pool)) as pipeline:
        await run(pipeline, await admit_again(pool, queue))
    assert (await images_of(pool, job_id))[0]["status"] == "refused"
    assert await balance(pool) == (100_000, 0, 0)
    assert await pool.fetchval("SELECT count(*) FROM attempts") == 1
    await assert_books_balance(pool)


async def test_canceled_images_give_back_what_was_held(pool: asyncpg.Pool) -> None:
    await open_account(pool, paid_in=20)
    job_id = await ordered(pool, image("one"), image("two"), image("three"))
    await cancel(pool, job_id, account=PAYER, mode=CancelMode.FINISH, image_ids=["two"])
    assert await balance(pool) == (10, 10, 0)
    await cancel(pool, job_id, account=PAYER, mode=CancelMode.FINISH)
    assert await balance(pool) == (20, 0, 0)
    assert (await entry_kinds(pool)).count("release") == 3
    await assert_books_balance(pool)


async def test_a_job_that_costs_more_than_there_is_leaves_nothing_behind(pool: asyncpg.Pool) -> None:
    await open_account(pool, paid_in=14)
    with pytest.raises(BudgetExceeded) as refusal:
        await ordered(pool, image("one"), image("two"), image("three"))
    assert refusal.value.remaining == {"remaining_credits": 14}
    for table in ("jobs", "images", "holds", "events"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 0
    assert await balance(pool) == (14, 0, 0)


async def test_a_replay_is_neither_refused_nor_charged_again(pool: asyncpg.Pool) -> None:
    await open_account(pool, paid_in=5)
    first = await ordered(pool, image("one"), key="k")
    assert await ordered(pool, image("one"), key="k") == first
    assert await balance(pool) == (0, 5, 0)


async def test_racing_submits_of_one_order_hold_once(pool: asyncpg.Pool) -> None:
    await open_account(pool, paid_in=5)
    jobs = await asyncio.gather(*(ordered(pool, image("one"), key="k") for _ in range(8)))
    assert len(set(jobs)) == 1
    assert await balance(pool) == (0, 5, 0)


async def test_a_price_that_nobody_knows_cannot_be_paid_in_dollars(pool: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.USD, paid_in=100_000)
    with pytest.raises(InvalidRequest) as refusal:
        await ordered(pool, image("one", estimate_microusd=None))
    assert refusal.value.slug == "price-unknown"
    await ordered(pool, image("one", estimate_microusd=0))
    assert await entry_kinds(pool) == ["top_up"]


async def test_a_retry_takes_a_hold_of_its_own_or_changes_nothing(pool: asyncpg.Pool) -> None:
    await open_account(pool, paid_in=10)
    job_id = await ordered(pool, image("one"), image("two"))
    await cancel(pool, job_id, account=PAYER, mode=CancelMode.FINISH)
    await ordered(pool, image("other"))
    with pytest.raises(BudgetExceeded) as refusal:
        await retry(pool, job_id, account=PAYER, run_limit_seconds=3600, prices=PRICES)
    assert refusal.value.remaining == {"remaining_credits": 5}
    assert [row["status"] for row in await images_of(pool, job_id)] == ["canceled", "canceled"]
    await retry(pool, job_id, account=PAYER, image_ids=["two"], run_limit_seconds=3600, prices=PRICES)
    assert await balance(pool) == (0, 10, 0)
    runs = await pool.fetch("SELECT run, status FROM holds WHERE job_id = $1 ORDER BY id", job_id)
    assert [tuple(row) for row in runs] == [(1, "released"), (1, "released"), (2, "held")]
    await assert_books_balance(pool)


async def test_an_image_of_unknown_outcome_keeps_its_hold_until_its_window_has_passed(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    job_id, _, _ = await uncertain(settings, pool, queue)
    assert await balance(pool) == (0, 3, 0)
    await swept(settings, pool, queue)
    assert await balance(pool) == (0, 3, 0)
    await pass_time(pool, 86_400)
    assert (await swept(settings, pool, queue)).released == 1
    assert await balance(pool) == (3, 0, 0)
    assert (await images_of(pool, job_id))[0]["status"] == "uncertain"
    assert (await swept(settings, pool, queue)).total == 0
    await assert_books_balance(pool)


@pytest.mark.parametrize(("late_seconds", "after"), [(60.0, (0, 0, 3)), (90_000.0, (3, 0, 0))])
async def test_a_late_picture_is_captured_within_the_window_and_free_after_it(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool, late_seconds: float, after: tuple[int, int, int]
) -> None:
    job_id, lease, attempt_id = await uncertain(settings, pool, queue)
    await pass_time(pool, late_seconds)
    await swept(settings, pool, queue)
    data = picture()
    receipt = receipt_of(lease, attempt_id, data)
    async with pipeline_of(settings, pool, await register_for_all(pool)) as pipeline:
        await pipeline.keeper.staging.stage(receipt, data)
        assert await provider_book.insert_receipt(pool, receipt) is not None
        await settle.adopt_late_receipt(pool, job_id, lease.row_id, run_limit_seconds=3600)
        adopted = await pool.fetchrow("SELECT row_id, generation FROM images")
        await run(pipeline, Hint(queue_row_id=1, row_id=adopted["row_id"], generation=adopted["generation"]))
    assert (await images_of(pool, job_id))[0]["status"] == "completed"
    assert await balance(pool) == after
    await assert_books_balance(pool)
    await assert_holds_at_rest(pool, window_seconds=86_400)


async def test_the_ledger_takes_no_change(pool: asyncpg.Pool) -> None:
    await open_account(pool, paid_in=5)
    for statement_text in ("UPDATE ledger SET amount = 6", "DELETE FROM ledger", "TRUNCATE ledger"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await pool.execute(statement_text)
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute("UPDATE balances SET available = -1")


async def test_an_account_without_billing_leaves_no_trace_in_the_books(
    settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await ordered(pool, image("one"), account="default")
    async with pipeline_of(settings, pool, await register_for_all(pool)) as pipeline:
        await run(pipeline, await admit_again(pool, queue))
    for table in ("holds", "ledger", "balances", "account_days"):
        assert await pool.fetchval(f"SELECT count(*) FROM {table}") == 0


async def uncertain(settings: Settings, pool: asyncpg.Pool, queue: asyncpg.Pool):
    """A job whose one image has ended as uncertain, the lease it ended under and its attempt."""
    await open_account(pool, paid_in=3)
    job_id = await ordered(pool, vendor_image("one", on_uncertain=OnUncertain.HOLD, max_rebuys=0))
    async with pipeline_of(settings, pool, await register_for_all(pool)) as pipeline:
        lease = await pipeline.claim(await admit_again(pool, queue))
        assert lease is not None
        sent = await pipeline.commit(lease)
        assert sent is not None
        lease = lease.moved(ImageStatus.GENERATING)
        end, verdict = no_answer("TIMEOUT", "no answer came")
        await settle.conclude(pool, lease, sent.id, end, verdict, retry_unit_seconds=0.0)
    assert (await images_of(pool, job_id))[0]["status"] == "uncertain"
    return job_id, lease, sent.id


async def test_a_retry_waits_for_a_late_answer_that_is_being_booked(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await open_account(pool, paid_in=10, daily_budget_microusd=10**6)
    job_id = await ordered(pool, image("one"), image("two"))
    worker_id = await register_for_all(pool)
    calls: list[tuple[Lease, AttemptId]] = []
    for position in range(2):
        await pool.execute(
            "UPDATE images SET not_before = safelight.now() + make_interval(hours => (position <> $1)::int)"
            " WHERE status = 'queued'",
            position,
        )
        hint = await admit_again(pool, queue)
        lease = await claim(pool, hint, worker_id=worker_id, lease_seconds=LONG_LEASE_SECONDS)
        assert lease is not None
        calls.append(await opened(pool, lease))
        await provider_book.keep_handle(pool, calls[-1][1], RemoteHandle(remote_id="x"))
        end, _ = no_answer("TIMEOUT", "no answer came")
        await settle.conclude(pool, *calls[-1], end, End(ImageStatus.UNCERTAIN), retry_unit_seconds=0.0)
    lease, attempt_id = calls[-1]
    async with pool.acquire() as conn, conn.transaction():  # as `note_stranded`, step by step
        await conn.execute("UPDATE attempts SET stranded_in = 'x' WHERE id = $1", attempt_id)
        retried = asyncio.create_task(retry(pool, job_id, account=PAYER, run_limit_seconds=3600, prices=PRICES))
        await until(pool, WAITS_FOR_A_LOCK)
        await provider_book.insert_receipt(conn, receipt_of(lease, attempt_id, picture()))  # pyright: ignore[reportArgumentType]
    assert await retried == 2
    assert await balance(pool) == (0, 10, 0)
    assert [row["status"] for row in await pool.fetch("SELECT status FROM attempts ORDER BY id")] == [
        "submitted",
        "received",
    ]
    await assert_books_balance(pool)
