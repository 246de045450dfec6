from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from gemini_wire import USAGE, USAGE_COST

from safelight.domain.money import UNKNOWN_COST, Cost, CostBasis
from safelight.providers.models import ModelTable, load_models, parse_models
from safelight.providers.prices import GENAI_PRICES_REF, estimated_cost, gemini_cost, has_charge

OURS: ModelTable = parse_models(
    "house",
    {
        "version": "7",
        "unbilled_statuses": [],
        "models": {
            "house-model": {
                "seed": False,
                "negative_prompt": False,
                "timeout_seconds": 60,
                "image_usd": "0.05",
                "input_usd_per_million_tokens": "1",
                "text_usd_per_million_tokens": "10",
                "image_usd_per_million_tokens": "40",
            }
        },
        "retired": {"old-model": "2026-01-01"},
    },
)
GEMINI = load_models("gemini")


def cost(model: str, usage: dict[str, Any], *, has_image: bool = True, table: ModelTable = GEMINI) -> Cost:
    return gemini_cost(usage, model=table.find(model), table=table, has_image=has_image)


@pytest.mark.parametrize(
    ("model", "microusd"),
    [
        ("gemini-nano-banana-2.1", 34_293),
        ("gemini-3.1-flash-image", 67_476),
        ("gemini-3.1-flash-lite-image", 33_738),
        ("gemini-3-pro-image", 135_504),
    ],
)
def test_every_live_model_is_priced_from_its_usage(model: str, microusd: int) -> None:
    assert cost(model, USAGE) == Cost(microusd, CostBasis.USAGE, GENAI_PRICES_REF)


def test_our_token_prices_agree_with_the_price_library() -> None:
    renamed = {
        name: entry
        for name, entry in GEMINI.models.items()
        if entry.price is not None and cost(name, USAGE).price_ref == GENAI_PRICES_REF
    }
    assert len(renamed) == 4
    for name, entry in renamed.items():
        assert entry.price is not None
        split = {"input": 12, "text": 90, "image": 1120}
        usd = (
            split["input"] * entry.price.input_token_usd
            + split["text"] * entry.price.text_token_usd
            + split["image"] * entry.price.image_token_usd
        )
        assert cost(name, USAGE).microusd == int(usd * 1_000_000)
        assert entry.price.image_usd == 1120 * entry.price.image_token_usd + 500 * entry.price.text_token_usd


def test_output_without_a_split_is_priced_as_image() -> None:
    unsplit = {name: value for name, value in USAGE.items() if name != "candidatesTokensDetails"}

    assert cost("gemini-3.1-flash-image", unsplit) == USAGE_COST
    assert cost("gemini-3.1-flash-image", unsplit | {"candidatesTokensDetails": []}) == USAGE_COST


def test_a_price_is_rounded_up_to_the_next_microdollar_once() -> None:
    # 3 tokens at $0.25 per million: 0.75 micro-dollars.
    assert cost("gemini-3.1-flash-lite-image", {"promptTokenCount": 3}, has_image=False).microusd == 1


def test_a_model_the_library_does_not_know_is_priced_by_our_token_prices() -> None:
    # 12 × $1 + 90 × $10 + 1120 × $40, per million.
    assert cost("house-model", USAGE, table=OURS) == Cost(45_712, CostBasis.USAGE, "safelight house 7")


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"promptTokenCount": 12},
        {"promptTokenCount": 12, "candidatesTokenCount": 0},
        {"candidatesTokenCount": 9, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}]},
    ],
    ids=["none", "input only", "no output", "contradictory"],
)
def test_a_picture_without_usable_usage_costs_the_table_price(usage: dict[str, Any]) -> None:
    assert cost("house-model", usage, table=OURS) == Cost(50_000, CostBasis.TABLE, "safelight house 7")
    assert cost("gemini-3.1-flash-image", usage).basis is CostBasis.TABLE


@pytest.mark.parametrize("usage", [{}, {"totalTokenCount": 12}, {"promptTokenCount": 0}])
def test_no_picture_and_no_usable_usage_is_unknown_and_not_free(usage: dict[str, Any]) -> None:
    assert cost("house-model", usage, has_image=False, table=OURS) == UNKNOWN_COST
    assert cost("gemini-3.1-flash-image", usage, has_image=False) == UNKNOWN_COST


def test_a_retired_model_has_no_price() -> None:
    assert cost("old-model", USAGE, table=OURS) == UNKNOWN_COST
    assert estimated_cost("a prompt", model=OURS.find("old-model"), table=OURS) == UNKNOWN_COST


def test_an_estimate_counts_every_byte_of_the_prompt_as_a_token() -> None:
    estimate = estimated_cost("ünï" * 100, model=OURS.find("house-model"), table=OURS)

    assert estimate == Cost(50_500, CostBasis.ESTIMATE, "safelight house 7")


@pytest.mark.parametrize(
    ("usage", "is_charged"),
    [({}, False), ({"promptTokenCount": 0, "totalTokenCount": 0}, False), ({"thoughtsTokenCount": 1}, True)],
)
def test_any_counted_token_is_a_charge(usage: dict[str, Any], is_charged: bool) -> None:
    assert has_charge(usage) is is_charged


def test_pricing_opens_no_connection() -> None:
    program = """
import sys
touched = []
sys.addaudithook(lambda event, _: touched.append(event) if event.startswith("socket.") else None)
import socket
from safelight.providers.models import load_models
from safelight.providers.prices import gemini_cost
table = load_models("gemini")
for model in table.models.values():
    gemini_cost({"promptTokenCount": 5, "candidatesTokenCount": 9}, model=model, table=table, has_image=True)
print(touched)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.strip() == "[]", ran.stderr
