"""What has become of jobs over a time, in figures."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from safelight.api.schemas.base import Answer, Usd
from safelight.api.schemas.jobs import Counts
from safelight.api.schemas.queries import Moment, TableQuery
from safelight.domain.recurrence import zone_of
from safelight.engine.figures.statistics import GroupBy

GroupWord = Literal["account", "provider", "model", "group", "style", "day", "hour"]


def _zone(name: str) -> str:
    zone_of(name)
    return name


class StatsQuery(TableQuery):
    since: Moment | None = Field(default=None, alias="from")
    """Jobs created at this time or later; 30 days before `to` when it is not said."""
    until: Moment | None = Field(default=None, alias="to")
    """Jobs created before this time; now when it is not said. At most 366 days after `from`."""
    group_by: GroupBy | None = None
    """What the figures are told apart by. Hours are told of 31 days at most."""
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    """Whose days and hours: a name of the IANA database."""


class JobCounts(Answer):
    total: int
    pending: int
    generating: int
    canceling: int
    completed: int
    partial: int
    failed: int
    canceled: int


class SecondsOf(Answer):
    """Half of them took `p50` at most, nine of ten `p90`, 99 of a hundred `p99`."""

    p50: float
    p90: float
    p99: float


class StatsCost(Answer):
    actual_usd: Usd
    """What calls have cost, as far as it is known."""
    wasted_usd: Usd
    """Part of it that brought no delivered picture."""
    uncertain_usd: Usd | None
    """Upper bound of what calls with an unknown outcome or price have cost beyond that. Null: there is none."""
    credits_captured: int | None = None
    """For pictures that were delivered to accounts that pay in credits."""
    captured_usd: Usd | None = None
    """The same of those that pay in dollars."""


class TokenUsage(Answer):
    """As vendors counted them; null where none did."""

    input_tokens: int | None
    output_tokens: int | None


class Figures(Answer):
    jobs: JobCounts
    """With an image that is counted here; one job may be in several groups."""
    images: Counts
    success_rate: float | None
    """Completed images among completed, failed and uncertain ones, 0 to 1. What a vendor's policy refused and what its
    caller canceled count neither way. Null: none has ended so."""
    refusal_rate: float | None
    """Refused images among those that ended and were not canceled."""
    queue_wait_seconds: SecondsOf | None
    """Until the first call, from when an image might have been begun. Like `total_seconds` of images that nobody had
    retried; those that wait for the pictures of others are left out. Null: there are none."""
    generation_seconds: SecondsOf | None
    """Of calls that brought a delivered picture, from their sending until it had arrived."""
    total_seconds: SecondsOf | None
    """Until a completed image's picture was stored, from when it might have been begun."""
    calls: int
    """To vendors. Calls, their cost and their tokens count for the provider that was called, images for the one that
    was asked last."""
    cost: StatsCost
    usage: TokenUsage


class GroupFigures(Figures):
    key: str | None
    """The account, provider, `provider/model`, group, style, day or beginning of the hour. Null: without a style."""


class PopularModel(Answer):
    provider: str
    model: str
    images: int
    completed: int


class PopularName(Answer):
    name: str
    images: int
    completed: int


class Popular(Answer):
    """What most images were ordered with, at most ten of each."""

    models: list[PopularModel]
    providers: list[PopularName]
    groups: list[PopularName]
    styles: list[PopularName]


class Stats(Answer):
    """Of jobs that were created in a time, wherever they stand now."""

    since: datetime = Field(alias="from")
    until: datetime = Field(alias="to")
    account: str | None
    """Null: all of them."""
    group_by: GroupWord | None
    time_zone: str
    total: Figures
    groups: list[GroupFigures]
    """By `group_by`, in the order of time, or those with most images first. A day or an hour without a job is left
    out."""
    is_cut: bool
    """There are more than 1000 of them: these are those with most images."""
    popular: Popular

    def as_json(self) -> str:
        return self.model_dump_json(exclude_unset=True, by_alias=True)
