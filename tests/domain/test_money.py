"""Amounts of money: rounded up once, written exactly, never a cost without a basis."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.money import MICROUSD_PER_USD, UNKNOWN_COST, Cost, CostBasis, format_usd, microusd

prices = st.decimals(0, 10_000, allow_nan=False, places=12)


@given(usd=prices)
def test_a_price_is_rounded_up_by_less_than_a_micro_dollar(usd: Decimal):
    assert 0 <= microusd(usd) - usd * MICROUSD_PER_USD < 1


@pytest.mark.parametrize(
    ("usd", "amount"),
    [("0.039", 39_000), ("0.0687001", 68_701), ("0.000000000001", 1), ("0", 0), ("12", 12_000_000)],
)
def test_a_fraction_of_a_micro_dollar_is_a_whole_one(usd: str, amount: int):
    assert microusd(Decimal(usd)) == amount


@given(amount=st.integers(-(10**15), 10**15))
def test_a_written_amount_reads_back_exactly(amount: int):
    text = format_usd(amount)
    assert Decimal(text) * MICROUSD_PER_USD == amount
    assert len(text.partition(".")[2]) >= 3


@pytest.mark.parametrize(
    ("amount", "text"),
    [(39_000, "0.039"), (67_476, "0.067476"), (0, "0.000"), (-500_000, "-0.500"), (1_000_001, "1.000001")],
)
def test_an_amount_is_written_in_dollars(amount: int, text: str):
    assert format_usd(amount) == text


def test_an_unknown_cost_has_no_amount_and_a_known_one_has():
    assert UNKNOWN_COST.microusd is None
    with pytest.raises(ValueError, match="exactly when its basis is known"):
        Cost(0, CostBasis.UNKNOWN)
    with pytest.raises(ValueError, match="exactly when its basis is known"):
        Cost(None, CostBasis.USAGE)
    with pytest.raises(ValueError, match="not negative"):
        Cost(-1, CostBasis.USAGE)
