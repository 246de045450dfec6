"""What a job would cost, what it would leave its account, and how long it may take: told before it is ordered.

Everything here is read, and nothing is held, counted or created: between a quote and a submit all of it may change.

Two different amounts are told, as there are two books. What vendors may bill is a range, by their prices:

- `low`: every picture comes from the first call for it, by the cheapest of its ways (`provider` and `fallback`);
- `likely`: every picture comes by the way that was ordered, and calls without one take the share of the money that
  they took with the account's own latest images of that model, once there are enough of those;
- `high`: everything goes wrong that may be paid for: each call goes the dearest way, and there are as many as
  `max_attempts` and `max_rebuys` allow. `max_cost_usd` bounds it.

What the account is asked for is certain: what a submit would hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from safelight.db.statements import load
from safelight.domain.attempts import OnUncertain
from safelight.domain.credits import Billing, CreditPrices, dearest_microusd, quote_of
from safelight.domain.errors import Unavailable
from safelight.domain.eta import Eta
from safelight.domain.money import format_usd
from safelight.domain.order import ImageOrder, JobOrder
from safelight.engine.estimates.forecast import Pending, forecast
from safelight.engine.estimates.obstacles import obstacles
from safelight.engine.estimates.outlook import Lookout
from safelight.engine.image.charge import Item, known_amounts
from safelight.engine.orders.depth import QueueDepth

FEWEST_PICTURES = 20
"""Of a model, delivered to the account: with fewer nobody can tell what share calls without one take. Chosen."""

LATEST_IMAGES = 1000
"""Of the account, that are looked at for it. Chosen."""

_LAST_IN_LINE = "job_~"
"""Greater than any job's id: what is not ordered yet comes after all that is."""

_SQL = load("quote")

_Ratios = Mapping[tuple[str, str], tuple[int, int]]
"""By provider and model: what was paid for every so much that was paid for delivered pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What vendors may bill, in micro-USD. None: it depends on a price that nobody knows."""

    low_microusd: int | None
    likely_microusd: int | None
    high_microusd: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """`hold` and `balance_after` are in credits or micro-USD, as the account is billed, None without billing; a balance
    below 0 says how much is missing. `is_affordable`: neither its balance nor a budget has a submit refused.
    `notes` are sentences, what matters most first."""

    images: int
    estimate: Estimate
    billing: Billing
    hold: int | None
    balance_after: int | None
    is_affordable: bool
    eta: Eta | None
    notes: tuple[str, ...]


async def quote(
    pool: asyncpg.Pool,
    order: JobOrder,
    *,
    lookout: Lookout,
    prices: CreditPrices,
    account_billing: Billing,
    depth: QueueDepth,
    acquire_seconds: float,
) -> Quote:
    """What a submit of this order would lead to, as far as it can be told.

    Raises InvalidRequest (`price-unknown`) where a submit does: a price has to be known for a budget, or by an account
    that pays in dollars.
    """
    async with pool.acquire(timeout=acquire_seconds) as conn:
        standing = await conn.fetchrow(_SQL.standing, order.account, order.not_before)
        assert standing is not None
        paid = await conn.fetch(_SQL.paid_and_delivered, order.account, LATEST_IMAGES)
        full = await _why_full(conn, depth, order, standing)
    billing = Billing(standing["billing"] or account_billing)
    hold = _hold(order, billing, prices)
    too_little = [*_over_balance(billing, hold, standing["available"]), *_over_budgets(order, standing)]
    eta, ahead = await _outlook_for(order, lookout, now=standing["at"])
    return Quote(
        images=len(order.images),
        estimate=_estimate(order, _ratios(paid)),
        billing=billing,
        hold=hold,
        balance_after=standing["available"] - hold if hold is not None else None,
        is_affordable=not too_little,
        eta=eta,
        notes=(*too_little, *full, *_unknown_prices(order.images), *ahead),
    )


def _hold(order: JobOrder, billing: Billing, prices: CreditPrices) -> int | None:
    if billing is Billing.NONE:
        return None
    quotes = [(item, quote_of(item.targets, billing, prices)) for item in _items(order)]
    return sum(known_amounts(quotes, "by an account that pays in dollars"))


def _over_balance(billing: Billing, hold: int | None, available: int) -> list[str]:
    if hold is None or hold <= available:
        return []
    if billing is Billing.CREDITS:
        return [f"This costs {hold} credits; the account has {available}."]
    return [f"This costs {format_usd(hold)} USD; the account has {format_usd(available)}."]


def _over_budgets(order: JobOrder, standing: Mapping[str, Any]) -> list[str]:
    daily = standing["daily_budget_microusd"]
    if daily is None and order.max_cost_microusd is None:
        return []
    asked = sum(known_amounts([(item, dearest_microusd(item.targets)) for item in _items(order)], "under a budget"))
    costs = f"By its estimate this costs {format_usd(asked)} USD"
    notes: list[str] = []
    if order.max_cost_microusd is not None and asked > order.max_cost_microusd:
        notes.append(f"{costs}; `max_cost_usd` leaves {format_usd(order.max_cost_microusd)}.")
    if daily is not None and asked > (left := max(daily - standing["day_used_microusd"], 0)):
        notes.append(f"{costs}; the budget of {standing['day']} leaves {format_usd(left)}.")
    return notes


def _items(order: JobOrder) -> list[Item]:
    return [Item(position, image.targets) for position, image in enumerate(order.images)]


def _estimate(order: JobOrder, ratios: _Ratios) -> Estimate:
    low = _sum([_cheapest(image) for image in order.images])
    likely = _sum([_likely(image, ratios) for image in order.images])
    high = _sum([_dearest(image) for image in order.images])
    if order.max_cost_microusd is not None and high is not None:
        high = min(high, order.max_cost_microusd)
    if likely is not None and high is not None:
        likely = min(likely, high)
    return Estimate(low_microusd=low, likely_microusd=likely, high_microusd=high)


def _cheapest(image: ImageOrder) -> int | None:
    estimates = [target.estimate_microusd for target in image.targets]
    known = [each for each in estimates if each is not None]
    return min(known) if len(known) == len(estimates) else None


def _likely(image: ImageOrder, ratios: _Ratios) -> int | None:
    if image.estimate_microusd is None:
        return None
    paid, delivered = ratios.get((image.provider, image.model), (1, 1))
    return -(-image.estimate_microusd * paid // delivered)


def _dearest(image: ImageOrder) -> int | None:
    """Each call but the last may be paid for without a picture: `max_attempts - 1` that brought none and as many as may
    be bought again after an unknown outcome."""
    dearest = dearest_microusd(image.targets)
    budget = image.budget
    rebuys = budget.max_rebuys if budget.on_uncertain is OnUncertain.RETRY_ONCE else 0
    return None if dearest is None else dearest * (budget.max_attempts + rebuys)


def _sum(amounts: Sequence[int | None]) -> int | None:
    known = [each for each in amounts if each is not None]
    return sum(known) if len(known) == len(amounts) else None


def _ratios(rows: Sequence[asyncpg.Record]) -> _Ratios:
    return {
        (row["provider"], row["model"]): (row["paid_microusd"], row["delivered_microusd"])
        for row in rows
        if row["pictures"] >= FEWEST_PICTURES and row["delivered_microusd"]
    }


def _unknown_prices(images: Sequence[ImageOrder]) -> list[str]:
    models = {
        f"`{target.provider}/{target.model}`": None
        for image in images
        for target in image.targets
        if target.estimate_microusd is None
    }
    return [f"What {model} costs is not known." for model in models]


async def _why_full(conn: Any, depth: QueueDepth, order: JobOrder, standing: Mapping[str, Any]) -> list[str]:
    try:
        await depth.require_room(
            conn,
            order.account,
            len(order.images),
            inserted=standing["inserted"],
            most_of_account=standing["max_queued"],
        )
    except Unavailable as refusal:
        return [refusal.detail]
    return []


async def _outlook_for(order: JobOrder, lookout: Lookout, *, now: datetime) -> tuple[Eta | None, list[str]]:
    """When it may end, counted from now, and what stands in its way. Nothing is known without an outlook."""
    outlook, own = await lookout.look(), await lookout.own(order.account)
    if outlook is None or own is None:
        return None, ["How busy it is cannot be told at the moment."]
    due_at = max(now, order.not_before) if order.not_before is not None else now
    images = [
        Pending(
            provider=image.provider,
            model=image.model,
            place=(order.priority.value, due_at, _LAST_IN_LINE),
            is_taken=False,
            awaits_parents=any(reference.image_id is not None for reference in image.references),
            sent_at=None,
        )
        for image in order.images
    ]
    eta = forecast(outlook, own, images, account=order.account, now=now).eta
    return eta, obstacles(order, outlook, own, eta=eta, waits_seconds=(due_at - now).total_seconds())
