"""Styles: what stands around a prompt, and those that come with Safelight."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.ids import IMAGE_ID_PATTERN
from safelight.domain.recipe import parse_recipe
from safelight.domain.style import (
    MAX_DESCRIPTION_CODE_POINTS,
    MAX_PART_CODE_POINTS,
    AppliedStyle,
    Style,
    built_in_styles,
    mentions_style,
)

NOIR = Style(name="noir", prefix="A still.\n", suffix="\n  Hard light.\n", negative_prompt=" colour ")
RECIPE = parse_recipe(
    """
    name = "cards"
    [[groups]]
    name = "fronts"
    prompt = "{{ name }}"
    [groups.defaults]
    style = "noir"
    [[groups]]
    name = "backs"
    prompt = "{{ name }}"
    """,
    source="cards.toml",
)
PLAIN = parse_recipe('name = "plain"\n[[groups]]\nname = "a"\nprompt = "{{ name }}"', source="plain.toml")


def test_each_part_stands_on_a_line_of_its_own():
    assert NOIR.applied(takes_negative=True).around("A key") == "A still.\nA key\nHard light."


def test_what_a_model_cannot_be_told_to_keep_out_is_the_last_line_of_the_prompt():
    assert NOIR.applied(takes_negative=False).around("A key") == "A still.\nA key\nHard light.\nAvoid: colour"


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"prefix": "A still."}, "A still.\nA key"),
        ({"suffix": "Hard light."}, "A key\nHard light."),
        ({"negative_prompt": "colour"}, "A key\nAvoid: colour"),
    ],
)
def test_a_part_that_is_not_there_leaves_no_line(parts: dict[str, Any], expected: str):
    assert Style(name="a", **parts).applied(takes_negative=False).around("A key") == expected


@pytest.mark.parametrize(
    ("own", "of_style", "joined"),
    [("blur", "colour", "blur, colour"), (None, "colour", "colour"), ("blur", None, "blur"), (None, None, None)],
)
def test_the_requests_negative_prompt_comes_first(own: str | None, of_style: str | None, joined: str | None):
    assert Style(name="a", prefix="x", negative_prompt=of_style).joined_negative(own) == joined


texts = st.none() | st.text(min_size=1)


@given(prefix=texts, suffix=texts, negative=texts, takes_negative=st.booleans(), prompt=st.text(), other=st.text())
def test_another_prompt_gets_the_same_words_around_it_from_the_lengths_alone(
    prefix: str | None, suffix: str | None, negative: str | None, takes_negative: bool, prompt: str, other: str
):
    style = Style(name="a", prefix=prefix, suffix=suffix, negative_prompt=negative)
    applied = style.applied(takes_negative=takes_negative)

    found = AppliedStyle.found_in(applied.around(prompt), applied.as_json())

    assert found == applied
    assert found.around(other) == applied.around(other)
    assert found.chars == len(applied.around(""))


def test_every_change_and_every_new_beginning_is_another_revision():
    first = replace(NOIR, version=1, created_at=datetime(2026, 11, 20, tzinfo=UTC))
    others = [
        replace(first, suffix="Soft light."),
        replace(first, version=2),
        replace(first, created_at=datetime(2026, 11, 21, tzinfo=UTC)),
        NOIR,
    ]
    assert len({each.revision for each in (first, *others)}) == 5
    assert replace(first).revision == first.revision


@pytest.mark.parametrize("style", built_in_styles().values(), ids=lambda style: style.name)
def test_a_style_that_comes_with_safelight_is_complete_and_within_the_limits_of_any_other(style: Style):
    assert re.fullmatch(IMAGE_ID_PATTERN, style.name)
    assert style.is_built_in
    for part in (style.prefix, style.suffix, style.negative_prompt):
        assert part is not None
        assert 0 < len(part) <= MAX_PART_CODE_POINTS
        assert part.replace("\n", "").isprintable()
    assert style.description is not None
    assert 0 < len(style.description) <= MAX_DESCRIPTION_CODE_POINTS


def test_the_styles_that_come_with_safelight_are_known_by_name():
    assert list(built_in_styles()) == ["evidence-photo", "noir", "product-studio", "watercolor"]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"style": "noir"}, True),
        ({"style": 7}, True),
        ({"images": [{"id": "a"}, {"id": "b", "style": "noir"}]}, True),
        ({"recipe": "cards"}, True),
        ({}, False),
        ({"style": None, "images": [{"style": None}]}, False),
        ({"recipe": "plain"}, False),
        ({"recipe": "no-such"}, False),
        ({"recipe": ["cards"], "images": [None, "x", 7]}, False),
        ({"images": {"style": "noir"}}, False),
    ],
)
def test_whether_a_body_leads_to_a_style_is_known_whatever_is_wrong_with_it(document: dict, expected: bool):
    assert mentions_style(document, {"cards": RECIPE, "plain": PLAIN}) is expected
