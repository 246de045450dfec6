from __future__ import annotations

from decimal import Decimal
from math import gcd
from typing import Any

import pytest

from safelight.providers.models import InvalidModelData, load_models
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
    assert price.tokens is not None
    assert price.tokens.image == Decimal("0.00012")
    assert price.tokens.image_input == price.tokens.input == Decimal("0.000002")
    assert price.image_usd == Decimal("0.1404")


def test_a_table_cannot_be_changed() -> None:
    table = load_models("gemini")

    with pytest.raises(TypeError):
        table.models["mine"] = table.find("gemini-3-pro-image")  # pyright: ignore[reportIndexIssue]


def test_an_unlisted_model_is_named_in_the_error() -> None:
    with pytest.raises(UnknownModel, match="`gemini-99`"):
        load_models("gemini").find("gemini-99")


# OpenAI


def test_the_openai_data_lists_what_can_be_bought_and_what_no_longer_can() -> None:
    table = load_models("openai")

    live = {name for name, model in table.models.items() if model.capabilities.retired_on is None}
    assert live == {
        "gpt-image-2.6-sunburst",
        "gpt-image-2.6-flare",
        "gpt-image-2.5-sunburst",
        "gpt-image-2.5-flare",
        "gpt-image-2",
        "gpt-image-1.5",
        "gpt-image-1-mini",
        "chatgpt-image-latest",
    }
    retired = {name: model.capabilities.retired_on for name, model in table.models.items() if name not in live}
    assert retired == {"dall-e-2": "2026-05-12", "dall-e-3": "2026-05-12", "gpt-image-1": "2026-10-23"}


def test_every_ratio_has_a_size_of_exactly_that_ratio_that_the_model_takes() -> None:
    for model in load_models("openai").models.values():
        for ratio, size in model.sizes_by_ratio.items():
            across, up = (int(side) for side in ratio.split(":"))
            width, height = (int(side) for side in size.split("x"))
            common = gcd(width, height)
            assert (width // common, height // common) == (across // gcd(across, up), up // gcd(across, up)), ratio
            assert model.capabilities.takes_size(size)
            rule = model.capabilities.size_rule
            assert rule is None or rule.allows(width, height), f"{model.id} {size}"
            assert 0.9e6 < width * height < 1.6e6


@pytest.mark.parametrize(
    ("size", "is_taken"),
    [
        ("1024x1024", True),
        ("3840x2160", True),
        ("2160x3840", True),
        ("2880x2880", True),
        ("1024x640", True),
        ("3072x1024", True),
        ("3840x2176", False),
        ("2896x2880", False),
        ("1008x640", False),
        ("3088x1024", False),
        ("1000x1000", False),
        ("3856x2160", False),
        ("0x1024", False),
        ("1024X1024", False),
        ("1024x1024x1", False),
        ("auto", False),
    ],
)
def test_the_free_sizes_are_the_vendors(size: str, is_taken: bool) -> None:
    assert load_models("openai").find("gpt-image-2.5-flare").capabilities.takes_size(size) is is_taken


# The operator's own


RULE = {"step_px": 16, "max_width_px": 2048, "max_height_px": 2048, "max_ratio": 3}


def own(entry: Any) -> Any:
    return load_models("openai", more={"mine": entry}).find("mine")


def test_the_operators_models_stand_beside_the_vendors_and_count_more() -> None:
    entry = {"timeout_seconds": 7, "sizes": ["512x512"], "image_usd": 0.04, "seed": True}
    table = load_models("openai", more={"mine": entry, "gpt-image-2": entry, "dall-e-3": entry})

    for name in ("mine", "gpt-image-2", "dall-e-3"):
        model = table.find(name)
        assert model.is_own
        assert model.price is not None
        assert model.price.image_usd == Decimal("0.04")
        assert (model.capabilities.seed, model.capabilities.retired_on) == (True, None)
        assert table.price_ref_of(model) == "settings"
    theirs = table.find("gpt-image-1.5")
    assert not theirs.is_own
    assert table.price_ref_of(theirs) == table.price_ref == "safelight openai 2026-11"
    assert not load_models("openai").find("gpt-image-2").is_own


def test_a_size_rule_may_say_that_no_picture_is_too_small() -> None:
    assert own({"timeout_seconds": 60, "size_rule": RULE | {"min_pixels": 0}}).capabilities.takes_size("16x16")


def test_a_model_needs_no_more_than_its_timeout() -> None:
    model = own({"timeout_seconds": 60})

    can = model.capabilities
    assert model.price is None
    assert (can.aspect_ratios, can.sizes, can.size_rule, can.qualities) == (None, None, None, None)
    assert (can.seed, can.negative_prompt, can.mask, can.remote_job, can.max_references) == (
        False,
        False,
        False,
        False,
        0,
    )
    assert (can.timeout_seconds, can.prompt_max_chars) == (60.0, 32_000)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({}, "`timeout_seconds` is missing"),
        ({"timeout_seconds": "soon"}, "could not convert"),
        ({"sed": True}, "there is no field `sed`"),
        ({"seed": "yes"}, "`seed` is neither true nor false"),
        ({"sizes": "512x512"}, "`sizes` is no list of names"),
        ({"qualities": [1]}, "`qualities` is no list of names"),
        ({"sizes_by_ratio": ["1:1"]}, "`sizes_by_ratio` is no table"),
        ({"sizes_by_ratio": {"1:1": 512}}, "`sizes_by_ratio` names a size that is no text"),
        ({"fields": "output_format"}, "`fields` is no table"),
        ({"size_rule": {"step": 16}}, "step"),
        ({"max_references": "many"}, "many"),
        ({"image_usd": "cheap"}, "`image_usd` is no amount of dollars"),
        ({"image_usd": "-1"}, "`image_usd` is no amount of dollars"),
        ({"unit_usd": "NaN"}, "`unit_usd` is no amount of dollars"),
        ({"second_usd": float("inf")}, "`second_usd` is no amount of dollars"),
        ({"image_usd_per_million_tokens": "30"}, "`input_usd_per_million_tokens` is missing"),
        ({"input_usd_per_million_tokens": "5"}, "`text_usd_per_million_tokens` is missing"),
        (
            {"input_usd_per_million_tokens": "5", "text_usd_per_million_tokens": "5"},
            "`image_usd_per_million_tokens` is missing",
        ),
        ({"image_input_usd_per_million_tokens": "5"}, "`input_usd_per_million_tokens` is missing"),
        ({"image_usd": "1e30"}, "`image_usd` is no amount of dollars"),
        ({"expected_tokens": {"by_quality": {"low": 1}}}, "pixels"),
        ({"expected_tokens": {"pixels": 1}}, "by_quality"),
        ({"expected_tokens": {"by_quality": {}, "pixels": 1}}, "by_quality"),
        ({"expected_tokens": {"by_quality": {"low": 1}, "pixels": 0}}, "pixels"),
        ({"expected_tokens": {"by_quality": {"low": -1}, "pixels": 1}}, "no count"),
        ({"expected_tokens": {"by_quality": {"low": "1"}, "pixels": 1}}, "no count"),
        ({"expected_tokens": {"by_quality": {"low": 1}, "pixels": 1, "planning": 0.5}}, "no count"),
        ({"expected_tokens": [1]}, "`expected_tokens` is no table"),
        ({"timeout_seconds": 0}, "`timeout_seconds` is no time"),
        ({"timeout_seconds": -60}, "`timeout_seconds` is no time"),
        ({"timeout_seconds": float("nan")}, "`timeout_seconds` is no time"),
        ({"timeout_seconds": float("inf")}, "`timeout_seconds` is no time"),
        ({"max_references": -1}, "`max_references` is less than 0"),
        ({"reference_tokens": -1}, "`reference_tokens` is less than 0"),
        ({"prompt_max_chars": 0}, "`prompt_max_chars` is less than 1"),
        ({"size_rule": RULE | {"step_px": 0}}, "`step_px` is no whole number above 0"),
        ({"size_rule": RULE | {"step_px": "16"}}, "`step_px` is no whole number above 0"),
        ({"size_rule": RULE | {"max_width_px": 0.5}}, "`max_width_px` is no whole number above 0"),
        ({"size_rule": RULE | {"max_ratio": float("nan")}}, "`max_ratio` is no number above 0"),
        ({"size_rule": [16]}, "`size_rule` is no table"),
        ("512x512", "described by no table"),
    ],
)
def test_a_wrong_description_is_named(entry: Any, complaint: str) -> None:
    whole = {"timeout_seconds": 60} | entry if isinstance(entry, dict) and entry else entry

    with pytest.raises(InvalidModelData, match=complaint) as caught:
        own(whole)
    assert "`mine`" in str(caught.value)
