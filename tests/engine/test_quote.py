"""What a quote takes from an account's own calls so far."""

from __future__ import annotations

from dataclasses import replace

import asyncpg

from safelight.domain.credits import Billing, CreditPrices
from safelight.domain.order import ImageOrder
from safelight.engine.estimates.outlook import Limits, Lookout
from safelight.engine.estimates.quote import FEWEST_PICTURES, Estimate, quote
from safelight.engine.orders.depth import QueueDepth
from safelight.engine.orders.submit import submit
from safelight.settings import Settings
from tests.engine.conftest import running
from tests.orders import attempts_of, ended, order, vendor_image


async def estimate_of(pool: asyncpg.Pool, *images: ImageOrder, account: str = "default") -> Estimate:
    lookout = Lookout(
        pool,
        {"gemini": Limits(max_concurrency=8)},
        lease_seconds=15.0,
        acquire_seconds=5.0,
        traffic_seconds=0.0,
        history_seconds=0.0,
    )
    told = await quote(
        pool,
        replace(order(*images), account=account),
        lookout=lookout,
        prices=CreditPrices(),
        account_billing=Billing.NONE,
        depth=QueueDepth(),
        acquire_seconds=5.0,
    )
    return told.estimate


async def test_what_calls_without_a_picture_have_cost_so_far_is_in_what_is_likely(
    settings: Settings, pool: asyncpg.Pool
) -> None:
    few = [vendor_image(f"i{n}", "refuse IMAGE_SAFETY" if n % 4 == 0 else "") for n in range(FEWEST_PICTURES)]
    more = [vendor_image(f"j{n}") for n in range(FEWEST_PICTURES // 4)]
    asked = replace(vendor_image("next"), estimate_microusd=40_000)
    async with running(settings):
        first = await submit(pool, order(*few), run_limit_seconds=3600)
        await ended(pool, first.job_id)
        assert (await estimate_of(pool, asked)).likely_microusd == 40_000, "15 pictures say too little"
        second = await submit(pool, order(*more), run_limit_seconds=3600)
        await ended(pool, second.job_id)

    calls = [*await attempts_of(pool, first.job_id), *await attempts_of(pool, second.job_id)]
    paid = sum(call["cost_microusd"] for call in calls)
    delivered = sum(call["cost_microusd"] for call in calls if call["status"] == "settled")
    assert paid > delivered
    estimate = await estimate_of(pool, asked, asked)
    assert estimate.likely_microusd == 2 * -(-40_000 * paid // delivered)
    assert estimate.low_microusd == 80_000
    assert estimate.high_microusd == 2 * 4 * 40_000
    once = replace(asked, budget=replace(asked.budget, max_attempts=1, max_rebuys=0))
    assert (await estimate_of(pool, once)).likely_microusd == 40_000, "never more than everything that can be paid"
    assert (await estimate_of(pool, asked, account="another")).likely_microusd == 40_000, "its own calls are none"
