"""Schedules: what a caller sends about them, and what it is shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from safelight.api.schemas.base import Answer, JobState, Request
from safelight.api.schemas.queries import AccountQuery
from safelight.domain import recurrence


def _read_by(read: Callable[[str], object]) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            read(text)
        except ValueError as error:
            raise PydanticCustomError("unreadable", "{why}", {"why": str(error)}) from None
        return text

    return check


ScheduleName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S(?:.*\S)?$", examples=["daily-case"])]
Cron = Annotated[str, Field(examples=["0 18 * * *", "@daily"]), AfterValidator(_read_by(recurrence.cron_fields))]
Timezone = Annotated[str, Field(examples=["Europe/Berlin"]), AfterValidator(_read_by(recurrence.zone_of))]
TimeOfDay = Annotated[str, Field(examples=["00:00"]), AfterValidator(_read_by(recurrence.require_time_of_day))]
UniquePer = Literal["day"]
CatchUp = Literal["skip", "latest", "all"]
RunState = Literal["due", "submitted", "joined", "failed", "skipped"]


class NewSchedule(Request):
    """A job that is made again and again."""

    name: ScheduleName
    cron: Cron
    """Minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`."""
    timezone: Timezone
    """Whose clock `cron` and `ready_by` go by: a name of the IANA database."""
    job: dict[str, Any]
    """The body of `POST /v1/jobs`. `{date}` and `{datetime}` in the values of its `metadata` and in its
    `storage_prefix` become the time that a run was scheduled for."""
    unique_per: UniquePer | None = None
    """`day`: one job a calendar day; further runs of that day are given the same one."""
    catch_up: CatchUp = "latest"
    """What becomes of times that passed while the service was down."""
    ready_by: TimeOfDay | None = None
    """Until when a run's pictures should all be there: the next such time of day after its own."""
    enabled: bool = True


class ScheduleChange(Request):
    """What is left out stays as it is."""

    # A factory, unlike a default, is not told of in the document: what is left out has no value here.
    name: ScheduleName = Field(default_factory=str)
    cron: Cron = Field(default_factory=str)
    timezone: Timezone = Field(default_factory=str)
    job: dict[str, Any] = Field(default_factory=dict)
    unique_per: UniquePer | None = Field(default_factory=lambda: None)
    catch_up: CatchUp = Field(default_factory=lambda: "latest")
    ready_by: TimeOfDay | None = Field(default_factory=lambda: None)
    enabled: bool = Field(default_factory=bool)


class ScheduleQuery(AccountQuery):
    name: str | None = Field(default=None, max_length=100, pattern=r"^[^\x00-\x1f]*$")
    """Only the schedule of this name."""
    enabled: bool | None = None
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=600)
    """`next_cursor` of the page before, with the same filters."""


class RunsQuery(AccountQuery):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=200)


class RunJob(Answer):
    id: str
    status: JobState | None
    """Null: the job is not kept any more."""
    completed_at: datetime | None
    url: str


class RunFault(Answer):
    pointer: str
    """Into the schedule, as for a request."""
    detail: str


class ScheduleRun(Answer):
    id: int
    trigger: Literal["cron", "manual"]
    status: RunState
    scheduled_at: datetime
    created_at: datetime
    """When it was noticed, or asked for."""
    job: RunJob | None
    detail: str | None
    """Why there is no job."""
    faults: list[RunFault]
    ready_by: datetime | None
    at_risk_at: datetime | None
    """When `schedule.at_risk` was told."""
    at_risk_reason: Literal["not_submitted", "incomplete", "short", "late"] | None


class ScheduleUrls(Answer):
    self: str
    run: str
    runs: str


class ScheduleSummary(Answer):
    """A schedule without its template."""

    id: str
    name: str
    cron: str
    timezone: str
    unique_per: UniquePer | None
    catch_up: CatchUp
    ready_by: str | None
    enabled: bool
    next_run_at: datetime | None
    """Null while it is disabled, or when no further time comes."""
    last_run: ScheduleRun | None
    created_at: datetime
    updated_at: datetime
    urls: ScheduleUrls


class Schedule(ScheduleSummary):
    job: dict[str, Any]


class SchedulePage(Answer):
    schedules: list[ScheduleSummary]
    next_cursor: str | None
    """Null on the last page."""


class ScheduleRunPage(Answer):
    runs: list[ScheduleRun]
    next_cursor: str | None
