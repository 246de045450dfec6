"""What has become of an account's jobs over a time: how many, how well, how fast, and what they have cost.

The figures are of the jobs that were created in that time, wherever they stand now. All of one answer are read in one
snapshot, and nothing is kept: whoever asks later is told what is true then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import asyncpg

from safelight.db.statements import load
from safelight.domain.errors import Unavailable
from safelight.domain.lifecycle import JobStatus

MAX_KEYS = 1000
"""By which figures are told apart; of more, those with most images. Chosen."""

MOST_POPULAR = 10

_SAME_CLOCKS: Mapping[str, str] = {
    "CET": "Europe/Brussels",
    "EET": "Europe/Athens",
    "MET": "Europe/Brussels",
    "WET": "Europe/Lisbon",
}
"""PostgreSQL takes these names for abbreviations, of a time without summers: what they are links to, in the IANA
database."""

_COUNTS = ("queued", "active", "completed", "failed", "refused", "canceled", "uncertain")

_SQL = load("statistics")


class GroupBy(StrEnum):
    """What tells figures apart: whose the jobs are, whom their images were asked of, what these are, and when the jobs
    were created."""

    ACCOUNT = "account"
    PROVIDER = "provider"
    MODEL = "model"
    GROUP = "group"
    STYLE = "style"
    DAY = "day"
    HOUR = "hour"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Jobs of an account (None: of all) that were created from `since` until before `until`, told apart as `group_by`
    says, by the clocks of `time_zone`."""

    account: str | None
    since: datetime
    until: datetime
    group_by: GroupBy | None = None
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Seconds: half of them took `p50` at most, nine of ten `p90`, 99 of a hundred `p99`."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What calls have cost, in micro-USD. `wasted` is the part that delivered no picture; `uncertain` bounds what calls
    of unknown outcome or price have cost besides, None: nothing does. Tokens are None where no vendor counted any."""

    calls: int = 0
    actual_microusd: int = 0
    wasted_microusd: int = 0
    uncertain_microusd: int | None = 0
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of all, or of one key. `jobs` are by state, `images` too, with all that a worker holds as `active`; `captured` is
    by currency. Percentiles are None of nothing."""

    jobs: Mapping[JobStatus, int]
    images: Mapping[str, int]
    waited: Percentiles | None
    made: Percentiles | None
    took: Percentiles | None
    book: Book
    captured: Mapping[str, int]

    @property
    def success_rate(self) -> float | None:
        """Of what ended, the share that was completed; what was refused by a vendor's policy or canceled by its caller
        counts neither way. None: nothing has ended so."""
        tried = sum(self.images[status] for status in ("completed", "failed", "uncertain"))
        return self.images["completed"] / tried if tried else None

    @property
    def refusal_rate(self) -> float | None:
        """Of what ended and was not canceled, the share that was refused."""
        answered = sum(self.images[status] for status in ("completed", "failed", "uncertain", "refused"))
        return self.images["refused"] / answered if answered else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Favourite:
    """What many images have in common: a provider and its model, a provider, a group or a style, called by `name`."""

    name: str
    provider: str | None
    images: int
    completed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """`groups` are in order, by time or those with most images first; `is_cut`: there are more. `favourites` are of
    `models`, `providers`, `groups` and `styles`."""

    total: Figures
    groups: Sequence[tuple[str, Figures]]
    is_cut: bool
    favourites: Mapping[str, Sequence[Favourite]]


async def now(pool: asyncpg.Pool, *, acquire_seconds: float) -> datetime:
    async with pool.acquire(timeout=acquire_seconds) as conn:
        return await conn.fetchval(_SQL.clock)


class UnknownZone(ValueError):
    """The database knows no time zone of this name, whoever else may."""


async def statistics(pool: asyncpg.Pool, span: Span, *, acquire_seconds: float) -> Statistics:
    """Raises Unavailable when it is too much for the time that the database gives a statement, and UnknownZone."""
    try:
        async with (
            pool.acquire(timeout=acquire_seconds) as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            await conn.execute(_SQL.plan_anew)
            rows = await _read(conn, span)
    except asyncpg.QueryCanceledError as error:
        raise Unavailable("There is too much for one answer: ask for a shorter time.") from error
    except asyncpg.InvalidParameterValueError as error:
        raise UnknownZone(span.time_zone) from error
    return _statistics(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    pictures: Sequence[asyncpg.Record]
    jobs: Sequence[asyncpg.Record]
    calls: Sequence[asyncpg.Record]
    charges: Sequence[asyncpg.Record]
    popular: Sequence[asyncpg.Record]
    is_cut: bool


async def _read(conn: Any, span: Span) -> _Rows:
    of_span = (span.account, span.since, span.until)
    time_zone = _SAME_CLOCKS.get(span.time_zone, span.time_zone)
    apart = (*of_span, span.group_by.value if span.group_by is not None else None, time_zone)
    pictures = await conn.fetch(_SQL.pictures, *apart, MAX_KEYS + 1)
    is_cut = len(pictures) > 1 + MAX_KEYS
    pictures = pictures[: 1 + MAX_KEYS]
    keys = [row["key"] for row in pictures if not row["is_total"]]
    # A call may have gone to somebody whom no image is with any more: its cost is told all the same.
    of_calls = None if span.group_by in (GroupBy.PROVIDER, GroupBy.MODEL) else keys
    return _Rows(
        pictures=pictures,
        jobs=await conn.fetch(_SQL.jobs, *apart, keys),
        calls=await conn.fetch(_SQL.calls, *apart, of_calls),
        charges=await conn.fetch(_SQL.charges, *apart, keys),
        popular=await conn.fetch(_SQL.popular, *of_span, MOST_POPULAR),
        is_cut=is_cut,
    )


@dataclass(slots=True, kw_only=True)
class _Draft:
    """What there is of one key, from every statement."""

    picture: asyncpg.Record | None = None
    jobs: dict[JobStatus, int] = field(default_factory=dict[JobStatus, int])
    call: asyncpg.Record | None = None
    captured: dict[str, int] = field(default_factory=dict[str, int])


def _statistics(rows: _Rows) -> Statistics:
    drafts = {_place(row): _Draft(picture=row) for row in rows.pictures}
    for row in rows.jobs:
        drafts[_place(row)].jobs[JobStatus(row["status"])] = row["jobs"]
    for row in rows.calls:
        drafts.setdefault(_place(row), _Draft()).call = row
    for row in rows.charges:
        drafts[_place(row)].captured[row["currency"]] = row["captured"]
    favourites: dict[str, list[Favourite]] = {kind: [] for kind in ("models", "providers", "groups", "styles")}
    for row in rows.popular:
        favourites[row["kind"]].append(_favourite(row))
    return Statistics(
        total=_figures(drafts[None]),
        groups=[(key, _figures(draft)) for key, draft in drafts.items() if key is not None],
        is_cut=rows.is_cut,
        favourites=favourites,
    )


def _place(row: asyncpg.Record) -> str | None:
    """Its key; None for the total."""
    return None if row["is_total"] else row["key"]


def _figures(draft: _Draft) -> Figures:
    picture, call = draft.picture, draft.call
    return Figures(
        jobs=draft.jobs,
        images={name: picture[name] if picture is not None else 0 for name in _COUNTS},
        waited=_percentiles(picture["waited_seconds"]) if picture is not None else None,
        made=_percentiles(call["made_seconds"]) if call is not None else None,
        took=_percentiles(picture["took_seconds"]) if picture is not None else None,
        book=Book(**{name: call[name] for name in Book.__slots__}) if call is not None else Book(),
        captured=draft.captured,
    )


def _percentiles(seconds: Sequence[float] | None) -> Percentiles | None:
    if seconds is None:
        return None
    p50, p90, p99 = seconds
    return Percentiles(p50=p50, p90=p90, p99=p99)


def _favourite(row: asyncpg.Record) -> Favourite:
    name = row["model"] or row["image_group"] or row["style"] or row["provider"]
    return Favourite(name=name, provider=row["provider"], images=row["images"], completed=row["completed"])
