"""What calls may cost for an account on a day, and for a job: asked at submit, and again before each call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from safelight.db.statements import load
from safelight.domain.attempts import AttemptStatus
from safelight.domain.credits import Billing
from safelight.domain.errors import Billed, BudgetExceeded, ErrorKind, InvalidRequest
from safelight.domain.ids import AttemptId, JobId, new_attempt_id
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.money import FREE, Cost, CostBasis
from safelight.engine.accounts.accounts import account_of, set_daily_budget
from safelight.engine.image import provider_book, settle
from safelight.engine.image.journal import locked_job
from safelight.engine.image.lease import Lease, claim
from safelight.engine.image.outcome import AttemptEnd, End, Ended, ImageError, Opened, TryAgain, Verdict
from safelight.engine.orders.control import CancelMode, cancel, retry
from safelight.engine.orders.submit import submit
from tests.engine import alone
from tests.engine.books import (
    PAYER,
    WAITS_FOR_A_LOCK,
    assert_books_balance,
    balance,
    billed_order,
    day_of,
    open_account,
    register_for_all,
)
from tests.engine.by_hand import LONG_LEASE_SECONDS, admit_again, pass_time, picture, receipt_of
from tests.orders import image, images_of, until

E = 40_000


async def ordered(pool: asyncpg.Pool, *image_ids: str, estimate: int | None = E, max_cost: int | None = None) -> JobId:
    images = [image(each, estimate_microusd=estimate) for each in image_ids]
    accepted = await submit(pool, billed_order(*images, max_cost_microusd=max_cost), run_limit_seconds=10**6)
    return accepted.job_id


async def taken(pool: asyncpg.Pool, queue: asyncpg.Pool) -> Lease:
    """The one image that waits, claimed."""
    worker_id = await register_for_all(pool)
    lease = await claim(pool, await admit_again(pool, queue), worker_id=worker_id, lease_seconds=LONG_LEASE_SECONDS)
    assert lease is not None
    return lease


async def opened(pool: asyncpg.Pool, lease: Lease) -> tuple[Lease, AttemptId]:
    attempt_id = new_attempt_id()
    answer = await alone.open_attempt(pool, lease, attempt_id, call_seconds=60.0, grace_seconds=5.0)
    assert isinstance(answer, Opened), answer
    return lease.moved(ImageStatus.GENERATING), attempt_id


def ending(status: AttemptStatus, cost: Cost, billed: Billed) -> AttemptEnd:
    error = ImageError(kind=ErrorKind.TEMPORARY, code="X", message="x", billed=billed)
    return AttemptEnd(status=status, cost=cost, error=error)


async def concluded(
    pool: asyncpg.Pool, call: tuple[Lease, AttemptId], end: AttemptEnd, verdict: Verdict | None = None
) -> None:
    await settle.conclude(pool, *call, end, verdict or TryAgain(0.0), retry_unit_seconds=0.0)


async def told(pool: asyncpg.Pool) -> Sequence[tuple[str, int]]:
    rows = await pool.fetch("SELECT account, data FROM notices WHERE type = 'budget.threshold' ORDER BY id")
    return [(row["account"], row["data"]["percent"]) for row in rows]


async def test_an_estimate_is_held_until_the_cost_takes_its_place(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=3 * E)
    await ordered(pool, "one")
    assert await day_of(pool) == (E, 0, 0)
    lease, attempt_id = await opened(pool, await taken(pool, queue))
    assert await day_of(pool) == (E, 0, 0)
    await alone.receive_and_complete(pool, lease, receipt_of(lease, attempt_id, picture(), cost_microusd=33_000))
    assert await day_of(pool) == (0, 33_000, 0)
    await assert_books_balance(pool)


async def test_a_call_that_cost_more_than_its_estimate_is_booked_and_flagged(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=E)
    await ordered(pool, "one")
    lease, attempt_id = await opened(pool, await taken(pool, queue))
    await alone.receive_and_complete(pool, lease, receipt_of(lease, attempt_id, picture(), cost_microusd=50_000))
    assert await day_of(pool) == (0, 50_000, 10_000)
    assert (await account_of(pool, PAYER)).day_left_microusd == 0
    await assert_books_balance(pool)


async def test_a_second_call_that_finds_no_room_ends_its_image_as_budget(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=E)
    job_id = await ordered(pool, "one")
    call = await opened(pool, await taken(pool, queue))
    paid = ending(AttemptStatus.NO_IMAGE, Cost(E, CostBasis.USAGE, "test"), Billed.YES)
    await concluded(pool, call, paid)
    lease = await taken(pool, queue)
    answer = await alone.open_attempt(pool, lease, new_attempt_id(), call_seconds=60.0, grace_seconds=5.0)
    assert answer == Ended(ImageStatus.FAILED)
    [row] = await images_of(pool, job_id)
    assert (row["error"]["kind"], row["error"]["code"], row["error"]["billed"]) == ("BUDGET", "DAILY_BUDGET", "yes")
    assert await pool.fetchval("SELECT count(*) FROM attempts") == 1
    assert await day_of(pool) == (0, E, 0)
    await assert_books_balance(pool)


async def test_a_call_that_cost_nothing_leaves_its_image_its_place(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=E)
    await ordered(pool, "one")
    for _ in range(3):
        call = await opened(pool, await taken(pool, queue))
        await concluded(pool, call, ending(AttemptStatus.UNBILLED, FREE, Billed.NO))
        assert await day_of(pool) == (E, 0, 0)
        with pytest.raises(BudgetExceeded):
            await ordered(pool, "other")
    call = await opened(pool, await taken(pool, queue))
    await concluded(pool, call, ending(AttemptStatus.UNBILLED, FREE, Billed.NO), End(ImageStatus.FAILED))
    assert await day_of(pool) == (0, 0, 0)
    await assert_books_balance(pool)


async def test_an_image_that_waited_for_the_next_day_is_counted_there(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=E)
    await ordered(pool, "one")
    await pass_time(pool, 86_400)
    lease, _ = await opened(pool, await taken(pool, queue))
    days = await pool.fetch("SELECT held_microusd FROM account_days WHERE account = $1 ORDER BY day", PAYER)
    assert [row["held_microusd"] for row in days] == [0, E]
    assert lease.image_id == "one"
    await assert_books_balance(pool)


async def test_a_budget_that_is_lowered_stops_what_waits(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=E)
    job_id = await ordered(pool, "one")
    await set_daily_budget(pool, PAYER, 0)
    lease = await taken(pool, queue)
    answer = await alone.open_attempt(pool, lease, new_attempt_id(), call_seconds=60.0, grace_seconds=5.0)
    assert answer == Ended(ImageStatus.FAILED)
    assert (await images_of(pool, job_id))[0]["error"]["kind"] == "BUDGET"
    assert await day_of(pool) == (0, 0, 0)


async def test_a_budget_that_is_set_at_noon_counts_the_morning(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE)
    await ordered(pool, "one")
    lease, attempt_id = await opened(pool, await taken(pool, queue))
    await set_daily_budget(pool, PAYER, 2 * E)
    assert await day_of(pool) == (E, 0, 0)
    await alone.receive_and_complete(pool, lease, receipt_of(lease, attempt_id, picture(), cost_microusd=30_000))
    assert await day_of(pool) == (0, 30_000, 0)
    await assert_books_balance(pool)


async def test_a_retry_is_asked_whether_it_fits_what_its_job_may_cost(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE)
    job_id = await ordered(pool, "one", max_cost=E + 1)
    call = await opened(pool, await taken(pool, queue))
    refused = ending(AttemptStatus.REFUSED, Cost(2, CostBasis.USAGE, "test"), Billed.YES)
    await concluded(pool, call, refused, End(ImageStatus.REFUSED))
    with pytest.raises(BudgetExceeded) as refusal:
        await retry(pool, job_id, account=PAYER, run_limit_seconds=3600)
    assert refusal.value.remaining == {"remaining_micros": E - 1}
    assert (await images_of(pool, job_id))[0]["status"] == "refused"


async def test_thresholds_are_told_once_for_a_day_and_a_budget(pool: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=10 * E)
    first = await ordered(pool, *(f"a{n}" for n in range(5)))
    assert await told(pool) == [(PAYER, 50)]
    await cancel(pool, first, account=PAYER, mode=CancelMode.FINISH)
    await ordered(pool, *(f"b{n}" for n in range(8)))
    assert await told(pool) == [(PAYER, 50), (PAYER, 80)]
    await ordered(pool, "c0", "c1")
    for _ in range(2):
        with pytest.raises(BudgetExceeded):
            await ordered(pool, "d")
    assert await told(pool) == [(PAYER, 50), (PAYER, 80), (PAYER, 100)]
    data = await pool.fetchval("SELECT data FROM notices ORDER BY id DESC LIMIT 1")
    assert (data["budget_usd"], data["used_usd"]) == ("0.400", "0.400")


async def test_a_budget_with_no_room_for_what_was_asked_is_told_to_be_used_up(pool: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=E - 1)
    with pytest.raises(BudgetExceeded) as refusal:
        await ordered(pool, "one")
    assert refusal.value.remaining == {"remaining_micros": E - 1}
    assert await told(pool) == [(PAYER, 100)]


async def test_a_price_that_nobody_knows_fits_no_budget(pool: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=E)
    with pytest.raises(InvalidRequest) as refusal:
        await ordered(pool, "one", estimate=None)
    assert refusal.value.slug == "price-unknown"
    await ordered(pool, "free", estimate=0)


async def test_a_call_that_finds_no_room_tells_what_is_used_without_it(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE, daily_budget_microusd=10 * E)
    await ordered(pool, "one", estimate=5 * E)
    await pass_time(pool, 86_400)
    lease = await taken(pool, queue)
    await ordered(pool, "two", estimate=7 * E)
    answer = await alone.open_attempt(pool, lease, new_attempt_id(), call_seconds=60.0, grace_seconds=5.0)
    assert answer == Ended(ImageStatus.FAILED)
    assert await told(pool) == [(PAYER, 50), (PAYER, 50), (PAYER, 100)]
    data = await pool.fetchval("SELECT data FROM notices ORDER BY id DESC LIMIT 1")
    assert (data["budget_usd"], data["used_usd"]) == ("0.400", "0.280")
    assert await day_of(pool) == (7 * E, 0, 0)
    await assert_books_balance(pool)


async def test_a_budget_that_is_set_while_an_image_settles_waits_for_it(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await open_account(pool, paid_in=1)
    await ordered(pool, "one")
    lease, attempt_id = await opened(pool, await taken(pool, queue))
    receipt = receipt_of(lease, attempt_id, picture(), cost_microusd=30_000)
    async with locked_job(pool, lease.job_id) as (conn, _):  # as `receive_and_complete`, step by step
        await provider_book.insert_receipt(conn, receipt)
        setting = asyncio.create_task(set_daily_budget(pool, PAYER, 2 * E))
        await until(pool, WAITS_FOR_A_LOCK)
        await conn.fetchval(load("attempts").start_uploading, [lease.row_id], [lease.status.value], [lease.token])
        await conn.fetchval(load("settle").complete_image, [lease.row_id], [lease.token], [attempt_id])
    await setting
    assert await balance(pool) == (0, 0, 1)
    assert await day_of(pool) == (0, 30_000, 0)
    await assert_books_balance(pool)


async def test_a_budget_can_be_set_after_a_day_of_many_calls(pool: asyncpg.Pool) -> None:
    await open_account(pool, billing=Billing.NONE)
    await ordered(pool, "one")
    await pool.execute(
        "INSERT INTO attempts (id, image_row_id, number, run, provider, model, fingerprint, claim_token, worker_id,"
        " sent_at, deadline_at, resolve_at, estimate_microusd, status, cost_microusd, cost_basis)"
        " SELECT 'att_' || n, row_id, n, 1, provider, model, fingerprint, gen_random_uuid(), gen_random_uuid(),"
        " safelight.now(), safelight.now(), safelight.now(), 3, 'settled', 5, 'usage'"
        " FROM images, generate_series(1, 25000) AS n"
    )
    await set_daily_budget(pool, PAYER, 10**6)
    assert await day_of(pool) == (0, 125_000, 50_000)
    await assert_books_balance(pool)
