"""When two requests are the same request."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from safelight.domain.fingerprint import fingerprint
from safelight.domain.order import request_fingerprint

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


def backwards(value: Any) -> Any:
    """The same JSON value with the fields of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@given(value=json_values)
def test_the_order_of_an_objects_fields_does_not_count(value: Any):
    assert fingerprint(value) == fingerprint(backwards(value))


@given(items=st.lists(json_values, min_size=2, max_size=5))
def test_the_order_of_an_array_counts(items: list[Any]):
    turned = items[::-1]
    # Compared as text, because True == 1 in Python and not in JSON.
    is_palindrome = json.dumps(items, sort_keys=True) == json.dumps(turned, sort_keys=True)
    assert (fingerprint(items) == fingerprint(turned)) == is_palindrome


def test_values_of_different_types_differ():
    assert len({fingerprint(value) for value in (1, "1", True, None, [], {}, "")}) == 7


def test_a_picture_is_asked_for_by_provider_model_prompt_and_options():
    base = ("gemini", "lite", "a key", {"seed": 7, "aspect_ratio": "1:1"})
    same = ("gemini", "lite", "a key", {"aspect_ratio": "1:1", "seed": 7})
    others = [
        ("openai", *base[1:]),
        ("gemini", "pro", *base[2:]),
        ("gemini", "lite", "a cup", base[3]),
        (*base[:3], {"seed": 8, "aspect_ratio": "1:1"}),
    ]
    assert request_fingerprint(*base) == request_fingerprint(*same)
    assert len({request_fingerprint(*request) for request in [base, *others]}) == 5
