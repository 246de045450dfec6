"""JSON read strictly: what two readers could take differently, or a database cannot keep, is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

from safelight.api.edge.pointer import pointer
from safelight.api.edge.problems import RequestFault, common_slug
from safelight.domain.errors import InvalidRequest, SafelightError

MAX_DEPTH = 32
"""Objects and arrays inside of each other."""
MAX_MEMBERS = 50_000
"""Of all its objects together: each may be a fault of its own, which is looked at by itself. 500 images with every
field and 16 references have 30 000. Chosen."""
_MAX_INTEGER_DIGITS = 300

_BAD_CHARACTERS = frozenset(chr(code) for code in (*range(0x20), *range(0xD800, 0xE000))) - {"\n", "\t"}


def parse_object(raw: bytes) -> dict[str, Any]:
    """The object that a request body holds.

    Integers beyond 64 bits come out as floats, as in most readers. Raises SafelightError (`malformed-json`,
    `duplicate-key`) and InvalidRequest (`invalid-text`, or a value that is no object), with every bad text
    listed.
    """
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _malformed(f"It is not UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        raise _malformed(f"{error.msg} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise _too_deep() from None
    faults = _text_faults(value)
    if faults:
        raise InvalidRequest(
            "A text holds characters that are not allowed.", slug=common_slug(faults), faults=tuple(faults)
        )
    if not isinstance(value, dict):
        fault = RequestFault("", "Must be an object.")
        raise InvalidRequest("The body must be a JSON object.", faults=(fault,))
    return value


def why_bad(text: str) -> str | None:
    """What is wrong with a text from the request; None for one that can be kept."""
    return None if _BAD_CHARACTERS.isdisjoint(text) else _why_bad(text)


def _text_faults(value: Any) -> list[RequestFault]:
    """Walks the whole value, keys included. Raises SafelightError for one that is too deep, or has too many members."""
    faults: list[RequestFault] = []
    members = 0
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        path, each = waiting.pop()
        if isinstance(each, str):
            if not _BAD_CHARACTERS.isdisjoint(each):
                faults.append(RequestFault(pointer(*path), _why_bad(each), "invalid-text"))
        elif isinstance(each, dict | list):
            if len(path) >= MAX_DEPTH:
                raise _too_deep()
            members += len(each) if isinstance(each, dict) else 0
            if members > MAX_MEMBERS:
                raise _malformed(f"Its objects have more than {MAX_MEMBERS} members.")
            pairs: Iterable[tuple[str | int, Any]] = each.items() if isinstance(each, dict) else enumerate(each)
            for key, inner in pairs:
                if isinstance(key, str) and not _BAD_CHARACTERS.isdisjoint(key):
                    faults.append(RequestFault(pointer(*path, key), f"The key: {_why_bad(key)}", "invalid-text"))
                if isinstance(inner, str | dict | list):
                    waiting.append(((*path, key), inner))
    return faults[::-1]


def _why_bad(text: str) -> str:
    position = next(n for n, character in enumerate(text) if character in _BAD_CHARACTERS)
    code = ord(text[position])
    kind = "a lone surrogate" if code >= 0xD800 else "a control character"
    return f"U+{code:04X} at position {position} is {kind}."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise SafelightError("An object of the body has the same key twice.", slug="duplicate-key")
    return members


def _integer(digits: str) -> int | float:
    if len(digits) > _MAX_INTEGER_DIGITS:
        raise _malformed(f"An integer has more than {_MAX_INTEGER_DIGITS} digits.")
    value = int(digits)
    return value if -(1 << 63) <= value < 1 << 64 else float(value)


def _fraction(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _malformed("A number is too large.")
    return value


def _no_such_number(name: str) -> NoReturn:
    raise _malformed(f"`{name}` is no number in JSON.")


def _too_deep() -> SafelightError:
    return _malformed(f"Objects and arrays are more than {MAX_DEPTH} deep.")


def _malformed(why: str) -> SafelightError:
    return SafelightError(f"The body is not valid JSON. {why}", slug="malformed-json")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_no_such_number
)
