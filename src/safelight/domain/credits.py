"""What a picture costs the account that ordered it: whole credits by a price list, or micro-USD by its estimate.

This is what a customer is asked for, known before anything is bought. What a vendor billed is another matter, and
another book (`domain.money`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from safelight.domain.fallback import Target


class Billing(StrEnum):
    """What an account pays its pictures with, in advance. `none`: nothing is held, and no entry is written."""

    NONE = "none"
    CREDITS = "credits"
    USD = "usd"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditPrices:
    """Whole credits per picture. `by_model` has models as `provider/model` or `model`; the longer name counts more."""

    default: int = 1
    by_model: Mapping[str, int] = field(default_factory=dict)

    def of(self, provider: str, model: str) -> int:
        return self.by_model.get(f"{provider}/{model}", self.by_model.get(model, self.default))


def quote_of(targets: Iterable[Target], billing: Billing, prices: CreditPrices) -> int | None:
    """What is held for one picture: the price of the dearest way to it, so that it never costs more than was quoted.

    In credits or micro-USD; 0 without billing. None when a way has a price in dollars that nobody knows.
    """
    if billing is Billing.NONE:
        return 0
    if billing is Billing.CREDITS:
        return max(prices.of(target.provider, target.model) for target in targets)
    return dearest_microusd(targets)


def dearest_microusd(targets: Iterable[Target]) -> int | None:
    """The estimate of the dearest way to a picture; None when one of them is not known."""
    estimates = [target.estimate_microusd for target in targets]
    known = [each for each in estimates if each is not None]
    return max(known) if len(known) == len(estimates) else None
