from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from typing import Any

import openai_wire
import pytest
from gemini_wire import USAGE, USAGE_COST

from safelight.domain.money import UNKNOWN_COST, Cost, CostBasis
from safelight.providers.models import Model, ModelTable, load_models, parse_models
from safelight.providers.prices import (
    GENAI_PRICES_REF,
    estimated_cost,
    gemini_cost,
    has_charge,
    openai_cost,
    table_cost,
    table_estimate,
)
from safelight.providers.provider import ImageRequest

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
            },
            "by-picture": {"timeout_seconds": 60, "image_usd": "0.003"},
            "by-pixels": {
                "timeout_seconds": 60,
                "megapixel_usd": "0.025",
                "sizes_by_ratio": {"16:9": "1920x1080"},
            },
            "by-time": {"timeout_seconds": 60, "second_usd": "0.000725", "image_usd": "0.03"},
            "by-unit": {"timeout_seconds": 60, "unit_usd": "0.025", "image_usd": "0.05"},
            "free": {"timeout_seconds": 60, "image_usd": "0"},
            "unpriced": {"timeout_seconds": 60},
        },
        "retired": {"old-model": "2026-01-01"},
    },
)
GEMINI = load_models("gemini")
OPENAI = load_models("openai")
COUNTED = openai_wire.USAGE


def asked(model: str = "house-model", prompt: str = "a prompt", **changes: Any) -> ImageRequest:
    return ImageRequest(model=model, prompt=prompt, attempt_key="att-1", timeout_seconds=60, **changes)


def priced(
    model: str,
    usage: dict[str, Any],
    *,
    table: ModelTable = OPENAI,
    has_image: bool = True,
    has_references: bool = False,
) -> Cost:
    return openai_cost(usage, model=table.find(model), table=table, has_image=has_image, has_references=has_references)


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
    listed = [
        model
        for model in GEMINI.models.values()
        if model.price is not None and cost(model.id, USAGE).price_ref == GENAI_PRICES_REF
    ]
    assert len(listed) == 4
    for model in listed:
        assert model.price is not None
        assert model.price.tokens is not None
        rates = model.price.tokens
        assert cost(model.id, USAGE).microusd == int((12 * rates.input + 90 * rates.text + 1120 * rates.image) * 10**6)
        assert model.price.image_usd == 1120 * rates.image + 500 * rates.text


def test_output_without_a_split_is_priced_as_image() -> None:
    unsplit = {name: value for name, value in USAGE.items() if name != "candidatesTokensDetails"}

    assert cost("gemini-3.1-flash-image", unsplit) == USAGE_COST
    assert cost("gemini-3.1-flash-image", unsplit | {"candidatesTokensDetails": []}) == USAGE_COST


@pytest.mark.parametrize(
    "split",
    [
        [{"modality": "TEXT", "tokenCount": 20}],
        [{"modality": "IMAGE"}],
        [{"tokenCount": 1120}],
        [{"modality": "HOLOGRAM", "tokenCount": 1120}],
    ],
    ids=["text alone", "no count", "no modality", "a modality of tomorrow"],
)
def test_a_picture_that_the_split_leaves_out_is_not_priced_as_text(split: list[dict[str, Any]]) -> None:
    usage = USAGE | {"candidatesTokensDetails": split}

    assert cost("gemini-3.1-flash-image", usage) == USAGE_COST
    assert cost("house-model", usage, table=OURS) == cost("house-model", USAGE, table=OURS)


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
    assert estimated_cost(asked("old-model"), model=OURS.find("old-model"), table=OURS) == UNKNOWN_COST
    assert table_cost(OURS.find("old-model"), OURS, units=3) == UNKNOWN_COST


def test_an_estimate_counts_every_byte_of_the_prompt_as_a_token() -> None:
    estimate = estimated_cost(asked(prompt="ünï" * 100), model=OURS.find("house-model"), table=OURS)

    assert estimate == Cost(50_500, CostBasis.ESTIMATE, "safelight house 7")


@pytest.mark.parametrize(
    ("usage", "is_charged"),
    [
        ({}, False),
        ({"promptTokenCount": 0, "totalTokenCount": 0}, False),
        ({"thoughtsTokenCount": 1}, True),
        ({"input_tokens": 0, "output_tokens": 0}, False),
        ({"input_tokens": 1}, True),
        ({"total_tokens": 1}, True),
        ({"total_tokens": 1.0}, True),
        ({"total_tokens": 2**70}, True),
        ({"total_tokens": 0.5}, False),
        ({"total_tokens": float("nan")}, False),
        ({"total_tokens": float("inf")}, False),
        ({"total_tokens": True}, False),
        ({"total_tokens": "1"}, False),
        ({"images": 1}, False),
    ],
)
def test_any_counted_token_is_a_charge(usage: dict[str, Any], is_charged: bool) -> None:
    assert has_charge(usage) is is_charged


# OpenAI


@pytest.mark.parametrize(
    ("model", "microusd"),
    [
        ("gpt-image-2", 31_780),
        ("gpt-image-2.5-sunburst", 31_780),
        ("gpt-image-2.5-flare", 31_780),
        ("gpt-image-1.5", 33_892),
        ("chatgpt-image-latest", 33_892),
        ("gpt-image-1-mini", 8_488),
    ],
)
def test_every_openai_model_that_the_library_knows_is_priced_by_it(model: str, microusd: int) -> None:
    assert priced(model, COUNTED) == Cost(microusd, CostBasis.USAGE, GENAI_PRICES_REF)


@pytest.mark.parametrize("model", ["gpt-image-2.6-sunburst", "gpt-image-2.6-flare"])
def test_an_openai_model_that_it_does_not_know_is_priced_by_our_token_prices(model: str) -> None:
    edit = COUNTED | {"input_tokens": 320, "input_tokens_details": {"text_tokens": 20, "image_tokens": 300}}

    assert priced(model, COUNTED) == Cost(31_780, CostBasis.USAGE, "safelight openai 2026-11")
    assert priced(model, edit).microusd == 20 * 5 + 300 * 8 + 1056 * 30


def test_our_openai_prices_agree_with_the_price_library_and_with_the_expected_tokens() -> None:
    usage = {
        "input_tokens": 320,
        "input_tokens_details": {"text_tokens": 20, "image_tokens": 300},
        "output_tokens": 1156,
        "output_tokens_details": {"text_tokens": 100, "image_tokens": 1056},
    }
    live = [model for model in OPENAI.models.values() if model.price is not None]
    assert len(live) == 8
    for model in live:
        assert model.price is not None
        rates, expected = model.price.tokens, model.expected_tokens
        assert rates is not None
        assert expected is not None
        usd = 20 * rates.input + 300 * rates.image_input + 100 * rates.text + 1056 * rates.image
        assert priced(model.id, usage).microusd == int(usd * 10**6)
        assert model.price.image_usd == (max(expected.by_quality.values()) + expected.planning) * rates.image
        assert expected.by_quality.keys() == model.capabilities.qualities


@pytest.mark.parametrize(
    ("usage", "has_references", "microusd"),
    [
        ({"input_tokens": 20, "output_tokens": 1056}, False, 20 * 5 + 1056 * 32),
        ({"input_tokens": 20, "output_tokens": 1056, "output_tokens_details": {}}, False, 20 * 5 + 1056 * 32),
        (
            {"input_tokens": 20, "output_tokens": 1056, "output_tokens_details": {"text_tokens": 56}},
            False,
            20 * 5 + 56 * 10 + 1000 * 32,
        ),
        ({"input_tokens": 320, "output_tokens": 1056}, True, 320 * 8 + 1056 * 32),
        (
            {"input_tokens": 320, "input_tokens_details": {"text_tokens": 20}, "output_tokens": 1056},
            True,
            20 * 5 + 300 * 8 + 1056 * 32,
        ),
        ({"output_tokens": 1056}, False, 1056 * 32),
    ],
    ids=["no split", "empty split", "text split off", "references", "references split off", "output only"],
)
def test_what_is_not_said_to_be_text_is_priced_as_pixels(
    usage: dict[str, Any], has_references: bool, microusd: int
) -> None:
    got = priced("gpt-image-1.5", usage, has_references=has_references)

    assert got == Cost(microusd, CostBasis.USAGE, GENAI_PRICES_REF)


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"input_tokens": 20},
        {"input_tokens": 20, "output_tokens": 0},
        {"total_tokens": 1076},
        {"input_tokens": "20", "output_tokens": True},
        {"output_tokens": 9, "output_tokens_details": {"text_tokens": 1056}},
        {"input_tokens": 9, "input_tokens_details": {"image_tokens": 300}, "output_tokens": 1056},
        {"output_tokens": 1056, "output_tokens_details": {"text_tokens": 1056}},
    ],
    ids=["none", "input only", "no output", "a sum", "no numbers", "more text", "more pixels", "text only"],
)
def test_an_openai_picture_without_usable_usage_costs_the_table_price(usage: dict[str, Any]) -> None:
    assert priced("gpt-image-2", usage) == Cost(240_720, CostBasis.TABLE, "safelight openai 2026-11")


def test_tokens_that_are_written_as_decimals_cost_the_same() -> None:
    decimals = {"input_tokens": 20.0, "output_tokens": 1056.0}

    assert priced("gpt-image-2", decimals) == openai_wire.USAGE_COST


@pytest.mark.parametrize("model", ["gpt-image-2", "gpt-image-2.6-flare"])
@pytest.mark.parametrize("count", [10**12, 2**70, 1e300])
def test_tokens_that_come_to_more_than_any_call_costs_are_not_believed(model: str, count: float) -> None:
    usage = {"input_tokens": 20, "output_tokens": count}

    assert priced(model, usage).basis is CostBasis.TABLE
    assert priced(model, usage, has_image=False) == UNKNOWN_COST
    assert has_charge(usage)


@pytest.mark.parametrize("usage", [{}, {"total_tokens": 1076}, {"input_tokens": 0}])
def test_no_openai_picture_and_no_usable_usage_is_unknown_and_not_free(usage: dict[str, Any]) -> None:
    assert priced("gpt-image-2", usage, has_image=False) == UNKNOWN_COST


def test_the_operators_own_price_counts_more_than_any_list() -> None:
    entry = {
        "timeout_seconds": 60,
        "input_usd_per_million_tokens": 0,
        "text_usd_per_million_tokens": 0,
        "image_usd_per_million_tokens": 1.5,
    }
    table = load_models("openai", more={"gpt-image-2": entry, "gpt-image-1.5": {"timeout_seconds": 60}})

    assert priced("gpt-image-2", COUNTED, table=table) == Cost(1056 * 3 // 2, CostBasis.USAGE, "settings")
    assert priced("gpt-image-2", openai_wire.INPUT_USAGE, has_image=False, table=table).microusd == 0
    assert priced("gpt-image-1.5", COUNTED, table=table) == UNKNOWN_COST
    assert priced("gpt-image-1-mini", COUNTED, table=table).price_ref == GENAI_PRICES_REF


# Flat prices


def paid(model: str, **known: Any) -> Cost:
    return table_cost(OURS.find(model), OURS, **known)


@pytest.mark.parametrize(
    ("model", "known", "microusd", "basis"),
    [
        ("by-picture", {}, 3_000, CostBasis.TABLE),
        ("by-picture", {"width_px": 4096, "height_px": 4096, "seconds": 9, "units": 9}, 3_000, CostBasis.TABLE),
        ("by-pixels", {"width_px": 1000, "height_px": 1000}, 25_000, CostBasis.TABLE),
        ("by-pixels", {"width_px": 1001, "height_px": 1000}, 50_000, CostBasis.TABLE),
        ("by-pixels", {"width_px": 1, "height_px": 1}, 25_000, CostBasis.TABLE),
        ("by-time", {"seconds": 1.1}, 798, CostBasis.USAGE),
        ("by-time", {"seconds": Decimal("0.000001")}, 1, CostBasis.USAGE),
        ("by-time", {}, 30_000, CostBasis.TABLE),
        ("by-unit", {"units": 1}, 25_000, CostBasis.USAGE),
        ("by-unit", {"units": Decimal("1.5")}, 37_500, CostBasis.USAGE),
        ("by-unit", {"seconds": 9, "width_px": 9, "height_px": 9}, 50_000, CostBasis.TABLE),
        ("free", {}, 0, CostBasis.TABLE),
    ],
)
def test_a_flat_price_is_paid_by_what_is_known(
    model: str, known: dict[str, Any], microusd: int, basis: CostBasis
) -> None:
    assert paid(model, **known) == Cost(microusd, basis, "safelight house 7")


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("unpriced", {"width_px": 9, "height_px": 9, "seconds": 9, "units": 9}),
        ("by-pixels", {}),
        ("by-pixels", {"width_px": 1024}),
        ("by-pixels", {"width_px": 0, "height_px": 1024}),
        ("by-pixels", {"units": 3, "seconds": 3}),
    ],
)
def test_what_nobody_priced_or_measured_is_unknown_and_not_free(model: str, known: dict[str, Any]) -> None:
    assert paid(model, **known) == UNKNOWN_COST


@pytest.mark.parametrize("count", [0, -1, float("nan"), float("inf"), Decimal("NaN"), 10**9, 2**70, 1e300])
def test_a_count_that_is_none_is_taken_for_missing(count: Any) -> None:
    assert paid("by-unit", units=count) == Cost(50_000, CostBasis.TABLE, "safelight house 7")
    assert paid("by-time", seconds=count) == Cost(30_000, CostBasis.TABLE, "safelight house 7")


@pytest.mark.parametrize(
    ("model", "options", "microusd"),
    [
        ("by-picture", {}, 3_000),
        ("by-pixels", {"size": "2000x1001"}, 75_000),
        ("by-pixels", {"aspect_ratio": "16:9"}, 75_000),
        ("by-time", {}, 30_000),
        ("by-unit", {}, 50_000),
        ("free", {}, 0),
    ],
)
def test_an_estimate_of_a_flat_price_is_that_price(model: str, options: dict[str, Any], microusd: int) -> None:
    known: Model = OURS.find(model)

    expected = Cost(microusd, CostBasis.ESTIMATE, "safelight house 7")
    assert table_estimate(asked(model, **options), model=known, table=OURS) == expected
    assert estimated_cost(asked(model, **options), model=known, table=OURS) == expected


@pytest.mark.parametrize("model", ["unpriced", "by-pixels", "old-model"])
def test_an_estimate_of_what_cannot_be_known_before_is_unknown(model: str) -> None:
    assert table_estimate(asked(model), model=OURS.find(model), table=OURS) == UNKNOWN_COST


# All of them


def test_pricing_opens_no_connection() -> None:
    program = """
import sys
touched = []
sys.addaudithook(lambda event, _: touched.append(event) if event.startswith("socket.") else None)
import socket
from safelight.providers.models import load_models
from safelight.providers.prices import gemini_cost, openai_cost
table = load_models("gemini")
for model in table.models.values():
    gemini_cost({"promptTokenCount": 5, "candidatesTokenCount": 9}, model=model, table=table, has_image=True)
table = load_models("openai")
for model in table.models.values():
    openai_cost({"input_tokens": 5, "output_tokens": 9}, model=model, table=table, has_image=True)
print(touched)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.strip() == "[]", ran.stderr
