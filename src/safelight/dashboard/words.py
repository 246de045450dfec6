"""How pages say times, sums and shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

NOTHING = "–"


def moment(value: str | None) -> str:
    """A time of the API's, to the second, in UTC."""
    return NOTHING if value is None else f"{_time(value):%Y-%m-%d %H:%M:%S} UTC"


def day(value: str | None) -> str:
    return NOTHING if value is None else f"{_time(value):%Y-%m-%d}"


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`."""
    if seconds is None:
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, word, part, part_word in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {word}" + (f" {rest} {part_word}" if rest else "")
    return f"{whole} s"


def span(start: str | None, end: str | None = None) -> str:
    """From one time of the API's to another, or until now by this process's own clock."""
    return NOTHING if start is None else duration(_seconds(start, end))


def ago(value: str | None) -> str:
    """`just now`, `5 min ago`, `3 d ago`."""
    if value is None:
        return NOTHING
    seconds = _seconds(value)
    return "just now" if seconds < 10 else f"{' '.join(duration(seconds).split()[:2])} ago"


def usd(value: float | str | None) -> str:
    """A sum in dollars, with as many places as it takes to be exact to the hundredth of a cent."""
    if value is None:
        return "not known"
    sum_usd = float(value)
    places = 2 if round(sum_usd, 2) == round(sum_usd, 4) else 4
    return f"${sum_usd:,.{places}f}"


def share(value: float | None) -> str:
    """A part of one, in percent."""
    return NOTHING if value is None else f"{100 * value:.1f} %"


def count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}".replace(",", "\u202f")


def plural(word: str, number: int) -> str:
    """The word as it stands behind the number."""
    return word if number == 1 else f"{word}s"


FILTERS: Mapping[str, Callable[..., str]] = {
    "moment": moment,
    "day": day,
    "duration": duration,
    "span": span,
    "ago": ago,
    "usd": usd,
    "share": share,
    "count": count,
    "plural": plural,
}


def _seconds(start: str, end: str | None = None) -> float:
    until = datetime.now(UTC) if end is None else _time(end)
    return max(0.0, (until - _time(start)).total_seconds())


def _time(value: str) -> datetime:
    return datetime.fromisoformat(value).astimezone(UTC)
