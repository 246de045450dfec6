"""Text that others wrote, made fit to be stored: PostgreSQL takes no NUL, and UTF-8 no lone surrogate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable(text: str) -> str:
    """The same text, with a replacement character for everything that cannot be stored."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").replace("\0", _REPLACEMENT)


def storable_json(value: Any) -> Any:
    """The same JSON value with every text in it, keys included, fit to be stored."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): storable_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [storable_json(each) for each in value]
    return value
