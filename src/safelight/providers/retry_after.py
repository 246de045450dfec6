"""How long a vendor asks us to wait, in the forms they say it; always between one second and one hour."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

SHORTEST_SECONDS = 1.0
LONGEST_SECONDS = 3600.0

_DURATION = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)s", re.ASCII)
_SECONDS = re.compile(r"\d{1,18}(?:\.\d{1,9})?", re.ASCII)


def from_duration(text: object) -> float | None:
    """A protobuf duration in JSON, "37s" or "1.5s". None for anything else."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    return _clamped(float(match[1])) if match else None


def from_headers(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds, or as a date counted from the answer's own `Date`. None when absent or
    garbage."""
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return _clamped(float(value))
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError):  # garbage; one date with a zone and one without
        return None
    return _clamped(wait.total_seconds())


def _clamped(seconds: float) -> float:
    return min(max(seconds, SHORTEST_SECONDS), LONGEST_SECONDS)
