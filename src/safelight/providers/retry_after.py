"""How long a vendor asks us to wait, in the forms they say it; always between one second and one hour."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 3600.0

_DURATION = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)s", re.ASCII)
_NUMBER = re.compile(r"\d{1,18}(?:\.\d{1,9})?", re.ASCII)
_TERM = r"(\d{1,18}(?:\.\d{1,9})?) ?(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)(?![a-z])"
_LATER = re.compile(
    rf"\b(?:resets?|again|retry|available|wait)(?: in| after| for)? ~?((?:{_TERM} ?){{1,3}})", re.ASCII | re.IGNORECASE
)
_SECONDS_PER = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def from_duration(text: object) -> float | None:
    """A protobuf duration in JSON, "37s" or "1.5s". None for anything else."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    return _clamped(float(match[1])) if match else None


def from_headers(headers: Mapping[str, str]) -> float | None:
    """`Retry-After-Ms`, else `Retry-After` in seconds, or as a date counted from the answer's own `Date`. None when
    absent or garbage. `headers` ignores case, or has its names in lower case."""
    milliseconds = headers.get("retry-after-ms", "").strip()
    if _NUMBER.fullmatch(milliseconds):
        return _clamped(float(milliseconds) / 1000)
    value = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(value):
        return _clamped(float(value))
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):  # garbage; one date with a zone and one without
        return None
    return _clamped(wait.total_seconds())


def from_text(message: str) -> float | None:
    """A wait that is written out: "resets in ~30s", "try again in 1m30.5s", "available in 24 seconds". None for a
    message without one."""
    match = _LATER.search(message)
    if match is None:
        return None
    terms = re.findall(_TERM, match[1], re.ASCII | re.IGNORECASE)
    return _clamped(sum(float(number) * _seconds_per(unit.lower()) for number, unit in terms))


def _seconds_per(unit: str) -> float:
    if unit.startswith("milli"):
        return _SECONDS_PER["ms"]
    return _SECONDS_PER.get(unit) or _SECONDS_PER[unit[0]]


def _clamped(seconds: float) -> float:
    return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)
