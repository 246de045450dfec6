"""Text that others wrote, made fit to be stored: PostgreSQL takes no NUL, and UTF-8 no lone surrogate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_MOST_LEVELS = 100
"""Chosen: vendors nest a handful; the JSON writer that we use ends at 254."""

_LEAST, _MOST = -(2**63), 2**64 - 1


def storable(text: str) -> str:
    """The same text, with a replacement character for everything that cannot be stored."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", _REPLACEMENT)


def storable_json(value: Any, *, levels: int = _MOST_LEVELS) -> Any:
    """The same JSON value with all in it fit to be stored: texts, keys included, and numbers.

    Whole numbers beyond 64 bits are floats. What no float can hold, and what is not finite, is null, and so is a list
    or an object below so many `levels` of them.
    """
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, (Mapping, list, tuple)) and not levels:
        return None
    if isinstance(value, Mapping):
        return {storable(str(key)): storable_json(each, levels=levels - 1) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable_json(each, levels=levels - 1) for each in value]
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        value = _as_float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _as_float(number: int) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf
