"""Money is integer micro-dollars (1 USD = 1 000 000); a float never holds an amount."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from enum import StrEnum

MICROUSD_PER_USD = 1_000_000
MOST_USD = Decimal(10_000)
"""Of one call. Chosen: none costs as much. What comes to more is not believed, nor are sums of money spoilt by it."""


class CostBasis(StrEnum):
    """Where an amount comes from; `unknown` carries no amount at all, never 0."""

    USAGE = "usage"
    TABLE = "table"
    ESTIMATE = "estimate"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Cost:
    """What one vendor call cost. `price_ref` names the price data used, so that it can be computed again."""

    microusd: int | None
    basis: CostBasis
    price_ref: str | None = None

    def __post_init__(self) -> None:
        if (self.microusd is None) != (self.basis is CostBasis.UNKNOWN):
            raise ValueError("a cost has an amount exactly when its basis is known")
        if self.microusd is not None and self.microusd < 0:
            raise ValueError("a cost is not negative")


UNKNOWN_COST = Cost(None, CostBasis.UNKNOWN)
FREE = Cost(0, CostBasis.TABLE, "free")


def believed(cost: Cost) -> Cost:
    """The same, or unknown where it is more than one call costs."""
    return UNKNOWN_COST if (cost.microusd or 0) > MOST_USD * MICROUSD_PER_USD else cost


def microusd(usd: Decimal) -> int:
    """Rounds up to the next micro-dollar; call it once per attempt, on the exact price."""
    return int((usd * MICROUSD_PER_USD).to_integral_value(rounding=ROUND_CEILING))


def format_usd(amount_microusd: int) -> str:
    """Exact decimal dollars with at least three places: 39000 → "0.039", 67476 → "0.067476"."""
    whole, fraction = divmod(abs(amount_microusd), MICROUSD_PER_USD)
    digits = f"{fraction:06d}".rstrip("0").ljust(3, "0")
    return f"{'-' if amount_microusd < 0 else ''}{whole}.{digits}"
