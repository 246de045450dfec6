from __future__ import annotations

from decimal import Decimal

import pytest

from safelight.providers.models import load_models
from safelight.providers.provider import UnknownModel


def test_the_gemini_data_lists_what_can_be_bought_and_what_no_longer_can() -> None:
    table = load_models("gemini")

    live = {name for name, model in table.models.items() if model.capabilities.retired_on is None}
    assert live == {
        "gemini-nano-banana-2.1",
        "gemini-3.1-flash-image",
        "gemini-3.1-flash-lite-image",
        "gemini-3-pro-image",
    }
    assert table.find("gemini-2.5-flash-image").capabilities.retired_on == "2026-10-02"
    assert table.find("gemini-2.5-flash-image").price is None
    assert table.unbilled_statuses == {500, 502, 503}


def test_prices_are_exact_decimals_per_token() -> None:
    price = load_models("gemini").find("gemini-3-pro-image").price

    assert price is not None
    assert price.image_token_usd == Decimal("0.00012")
    assert price.image_usd == Decimal("0.1404")


def test_a_table_cannot_be_changed() -> None:
    table = load_models("gemini")

    with pytest.raises(TypeError):
        table.models["mine"] = table.find("gemini-3-pro-image")  # pyright: ignore[reportIndexIssue]


def test_an_unlisted_model_is_named_in_the_error() -> None:
    with pytest.raises(UnknownModel, match="`gemini-99`"):
        load_models("gemini").find("gemini-99")
