"""What an event tells beside its type, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_BILLED = {"yes": "billed", "no": "not billed", "unknown": "perhaps billed"}
_ENDS = ("completed", "failed", "refused", "canceled", "uncertain")


def described(event: Mapping[str, Any]) -> str:
    return ", ".join(_parts(event["data"]))


def _parts(data: Mapping[str, Any]) -> Iterator[str]:
    if "attempt" in data:
        yield f"call {data['attempt']}"
    if error := data.get("error"):
        yield f"{error['kind']} {error['code']}: {error['message']}"
        yield _BILLED.get(error.get("billed"), "perhaps billed")
    if "after_seconds" in data:
        yield f"again after {data['after_seconds']:g} s"
    if "way" in data:
        yield " ".join(
            str(each) for each in (data["way"].replace("_", " "), data.get("provider"), data.get("model")) if each
        )
    if data.get("late"):
        yield "after the image had ended"
    if "why" in data:
        yield str(data["why"])
    if "stage" in data:
        yield f"while {data['stage']}"
    if isinstance(images := data.get("images"), list):
        yield f"{len(images)} image{'' if len(images) == 1 else 's'}"
    if "total" in data:
        yield ", ".join([f"{data['total']} in all", *(f"{data[each]} {each}" for each in _ENDS if data.get(each))])
