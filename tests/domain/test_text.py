"""What a vendor sent is kept, whatever is in it."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from safelight.domain.text import storable_json


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"in": [inner]}
    return inner


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ({"k\0": 1}, {"k\N{REPLACEMENT CHARACTER}": 1}),
        (float("nan"), None),
        (float("inf"), None),
        (-1e400, None),
        (0.5, 0.5),
        (True, True),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (2**64, 2.0**64),
        (-(2**70), -(2.0**70)),
        (10**400, None),
        ([1, {"seconds": float("nan")}], [1, {"seconds": None}]),
    ],
)
def test_what_no_store_can_hold_is_replaced_and_all_else_stays(value: Any, stored: Any) -> None:
    assert storable_json(value) == stored
    assert type(storable_json(value)) is type(stored)


@pytest.mark.parametrize("levels", [3, 400])
def test_what_is_to_be_stored_can_be_written_however_deep_it_lies(levels: int) -> None:
    stored = storable_json(nested(levels))

    assert orjson.loads(orjson.dumps(stored)) == stored == json.loads(json.dumps(stored, allow_nan=False))
    assert (stored == nested(levels)) is (levels == 3)
