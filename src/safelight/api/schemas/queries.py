"""What a caller may put into a query string."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from safelight.api.schemas.base import MAX_SEED, Group, JobState, moment
from safelight.domain.ids import IMAGE_ID_PATTERN


class NoQuery(BaseModel):
    """The query of a call that takes none."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class JobQuery(NoQuery):
    inline: str | None = Field(default=None, pattern=rf"^(?:{IMAGE_ID_PATTERN})$")
    """The name of an output whose pictures come as `data:` URLs, as far as they fit into 32 MB."""
    wait: int = Field(default=0, ge=0, le=60)
    """Answer when the job has ended, or after so many seconds as it stands then."""
    after: int | None = Field(default=None, ge=0, le=MAX_SEED)
    """With `wait`: answer already when the job's `seq` is greater than this."""


class HistoryQuery(BaseModel):
    """`metadata.{key}` parameters come beside these, which is why others are let through here."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    status: JobState | None = None
    created_after: Annotated[AwareDatetime, AfterValidator(moment)] | None = None
    """With its offset from UTC; a `+` is sent as `%2B`."""
    group: Group | None = None
    """Jobs with at least one image in this group."""
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=200)
    """`next_cursor` of the page before, with the same filters."""


class EventsQuery(NoQuery):
    after: int | None = Field(default=None, ge=0, le=MAX_SEED)
    """Events later than this one. Without it a page begins with the first one, a stream with the job as it is."""
    limit: int | None = Field(default=None, ge=1, le=1000)
    """Of a page: 100 when it is not said. A stream has none."""


class FeedQuery(NoQuery):
    after: str | None = Field(default=None, max_length=200)
    """`next_cursor` of the page before; without it the feed begins with the oldest event that is kept."""
    limit: int = Field(default=100, ge=1, le=1000)
    wait: int = Field(default=0, ge=0, le=60)
    """When there is nothing new, answer as soon as there is, or after so many seconds."""
