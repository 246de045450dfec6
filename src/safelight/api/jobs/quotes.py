"""What a job would cost and how long it may take, for whoever asks before ordering it."""

from __future__ import annotations

from typing import Any

from safelight.api import schemas
from safelight.api.dependencies import ApiDependencies
from safelight.api.money import shown_amounts
from safelight.api.ordering.placing import placed
from safelight.domain.credits import Billing
from safelight.domain.eta import Eta
from safelight.domain.money import format_usd
from safelight.engine.estimates.outlook import Lookout
from safelight.engine.estimates.quote import Quote, quote


class Quotes:
    def __init__(self, deps: ApiDependencies, lookout: Lookout) -> None:
        self._deps = deps
        self._lookout = lookout

    async def of(self, document: dict[str, Any], *, account: str) -> schemas.Quote:
        """Nothing is created. Raises InvalidRequest for what a submit refuses as wrong."""
        deps = self._deps
        order = await placed(
            document,
            account=account,
            idempotency_key=None,
            pool=deps.pool,
            catalog=deps.catalog,
            recipes=deps.recipes,
            check_url=deps.check_url,
        )
        told = await quote(
            deps.pool,
            order,
            lookout=self._lookout,
            prices=deps.credit_prices,
            account_billing=deps.account_billing,
            depth=deps.depth,
            acquire_seconds=deps.acquire_seconds,
        )
        return _shown(told)


def _shown(told: Quote) -> schemas.Quote:
    estimate = told.estimate
    return schemas.Quote(
        estimate_usd=schemas.QuotedUsd(
            low=_usd(estimate.low_microusd), likely=_usd(estimate.likely_microusd), high=_usd(estimate.high_microusd)
        ),
        balance_after=_balance(told),
        affordable=told.is_affordable,
        eta_seconds=_seconds(told.eta),
        images=told.images,
        notes=list(told.notes),
        **(shown_amounts(told.billing, {"held": told.hold}) if told.hold is not None else {}),
    )


def _balance(told: Quote) -> int | str | None:
    if told.balance_after is None or told.billing is Billing.CREDITS:
        return told.balance_after
    return format_usd(told.balance_after)


def _seconds(eta: Eta | None) -> schemas.QuotedSeconds | None:
    if eta is None:
        return None
    return schemas.QuotedSeconds(p50=round(eta.p50_seconds, 1), p90=round(eta.p90_seconds, 1))


def _usd(microusd: int | None) -> str | None:
    return None if microusd is None else format_usd(microusd)
