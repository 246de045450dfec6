"""What a job is charged before it is accepted, and what its calls may cost: all of it, or the job is refused.

Two things that may both be asked of one account. A *hold* is the customer's: the quote of each picture, taken out of
the balance, captured when the picture is delivered and given back when not. A *reservation* is of a budget: what the
next call for an image may cost. What becomes of either follows the image and its calls in the database itself
(migration 0016), in whichever statement moves them.

Everything here runs in a transaction that has the job's lock, and takes the account's row after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import asyncpg

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.credits import Billing, CreditPrices, dearest_microusd, quote_of
from safelight.domain.errors import BudgetExceeded, InvalidRequest, Unavailable
from safelight.domain.fallback import Target
from safelight.domain.ids import JobId
from safelight.domain.money import format_usd
from safelight.engine.image.lease import Lease
from safelight.engine.image.outcome import ImageError, over_budget, without_price

_SQL = load("charge")


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """Who pays for a job: the account, what it pays with, and what bounds the cost of calls."""

    account: str
    billing: Billing
    daily_budget_microusd: int | None
    max_cost_microusd: int | None

    @property
    def is_budgeted(self) -> bool:
        return self.daily_budget_microusd is not None or self.max_cost_microusd is not None


@dataclass(frozen=True, slots=True)
class Item:
    """One image to pay for, by its place in the job; `targets` are all ways to it."""

    position: int
    targets: Sequence[Target]


async def payer_of_job(conn: asyncpg.Connection, job_id: JobId) -> Payer:
    row = await conn.fetchrow(_SQL.payer_of_job, job_id)
    assert row is not None
    return Payer(
        account=row["account"],
        billing=Billing(row["billing"] or Billing.NONE),
        daily_budget_microusd=row["daily_budget_microusd"],
        max_cost_microusd=row["max_cost_microusd"],
    )


async def limit_job(conn: asyncpg.Connection, job_id: JobId, max_cost_microusd: int) -> None:
    """The calls of a job that was just created cost no more than this, in all its runs."""
    await conn.execute(_SQL.limit_job, job_id, max_cost_microusd)


async def charge(
    conn: asyncpg.Connection, job_id: JobId, payer: Payer, items: Sequence[Item], prices: CreditPrices
) -> None:
    """Every item has its hold and its reservation, as far as its payer needs them; without any, nothing is asked of the
    database.

    Raises BudgetExceeded when they do not all fit, and InvalidRequest (`price-unknown`) for a price that would have to
    be known and is not: then the transaction is to be given up. Unavailable when others keep the account busy.
    """
    try:
        if payer.is_budgeted:
            await _reserve(conn, job_id, payer, items)
        if payer.billing is not Billing.NONE:
            await _hold(conn, job_id, payer, items, prices)
    except asyncpg.LockNotAvailableError as error:
        raise Unavailable("Many requests are being charged to this account at once.") from error


async def tell_if_exhausted(pool: asyncpg.Pool, refusal: BudgetExceeded) -> None:
    """A day's budget that has no room for the smallest picture of what was refused is told to be used up, once."""
    if refusal.exhausted is None:
        return
    account, day = refusal.exhausted
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        await conn.execute(_SQL.take_account, account)
        await conn.execute(_SQL.tell_exhausted, account, day)


async def cover_call(conn: asyncpg.Connection, lease: Lease) -> ImageError | None:
    """The call that is about to be made is covered by the budgets that concern it; else why it is not.

    Says nothing of an image that is to stop or not ours any more: whoever opens the attempt finds that out.
    """
    account = await conn.fetchval(_SQL.account_of_job, lease.job_id)
    await conn.execute(_SQL.take_account, account)
    room = await conn.fetchrow(_SQL.room_for_call, lease.row_id, lease.token)
    if room is None:
        return None
    if room["estimate_microusd"] is None:
        return without_price(f"{lease.provider}/{lease.model}")
    if _is_short(room["job_left_microusd"]):
        return over_budget("JOB_BUDGET", "The job may not cost more: `max_cost_usd` has no room for this call.")
    if _is_short(room["day_left_microusd"]):
        await conn.execute(_SQL.tell_exhausted, account, room["day"])
        return over_budget("DAILY_BUDGET", "The account's budget of the day has no room for this call.")
    await conn.execute(_SQL.cover_call, lease.row_id, lease.token, room["day"])
    return None


def known_amounts(amounts: Sequence[tuple[Item, int | None]], where: str) -> list[int]:
    """Raises InvalidRequest (`price-unknown`) that names the models nobody knows the price of."""
    unknown = {
        f"`{target.provider}/{target.model}`": None
        for item, amount in amounts
        if amount is None
        for target in item.targets
        if target.estimate_microusd is None
    }
    if unknown:
        raise InvalidRequest(
            f"What {', '.join(unknown)} costs is not known, so it cannot be ordered {where}.", slug="price-unknown"
        )
    return [amount for _, amount in amounts if amount is not None]


async def _reserve(conn: asyncpg.Connection, job_id: JobId, payer: Payer, items: Sequence[Item]) -> None:
    amounts = known_amounts([(item, dearest_microusd(item.targets)) for item in items], "under a budget")
    await conn.execute(_SQL.take_account, payer.account)
    positions = [item.position for item in items]
    has_day = payer.daily_budget_microusd is not None
    day: date | None = await conn.fetchval(_SQL.reserve, job_id, positions, amounts, has_day)
    left = await conn.fetchrow(_SQL.leeway_of_job, job_id, day)
    assert left is not None
    asked = sum(amounts)
    if _is_short(left["job_left_microusd"]):
        room = max(left["job_left_microusd"] + asked, 0)
        why = f"By its estimate this costs {format_usd(asked)} USD; `max_cost_usd` leaves {format_usd(room)}."
        raise BudgetExceeded(why, remaining={"remaining_micros": room})
    if day is not None and _is_short(left["day_left_microusd"]):
        room = max(left["day_left_microusd"] + asked, 0)
        why = f"By its estimate this costs {format_usd(asked)} USD; the budget of {day} leaves {format_usd(room)}."
        smallest = min((amount for amount in amounts if amount > 0), default=0)
        raise BudgetExceeded(
            why,
            remaining={"remaining_micros": room},
            exhausted=(payer.account, day) if smallest > room else None,
        )


async def _hold(
    conn: asyncpg.Connection, job_id: JobId, payer: Payer, items: Sequence[Item], prices: CreditPrices
) -> None:
    quotes = [(item, quote_of(item.targets, payer.billing, prices)) for item in items]
    amounts = known_amounts(quotes, "by an account that pays in dollars")
    await conn.execute(_SQL.open_books, payer.account, payer.billing.value)
    row = await conn.fetchrow(_SQL.hold, job_id, payer.billing.value, [item.position for item in items], amounts)
    assert row is not None
    if not row["is_covered"]:
        raise _too_little(payer.billing, row)


def _too_little(billing: Billing, row: Any) -> BudgetExceeded:
    asked, available = row["asked"], row["available"]
    if billing is Billing.CREDITS:
        why = f"This costs {asked} credits; the account has {available}."
        return BudgetExceeded(why, remaining={"remaining_credits": available})
    why = f"This costs {format_usd(asked)} USD; the account has {format_usd(available)}."
    return BudgetExceeded(why, remaining={"remaining_micros": available})


def _is_short(left_microusd: int | None) -> bool:
    return left_microusd is not None and left_microusd < 0
