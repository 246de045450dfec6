"""What a caller may put into a query string."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from safelight.api.schemas.base import MAX_SEED, AccountId, Group, ImageState, JobState, moment, written
from safelight.domain.errors import ErrorKind
from safelight.domain.ids import IMAGE_ID_PATTERN

EVERY_ACCOUNT = "*"

Moment = Annotated[AwareDatetime, BeforeValidator(written), AfterValidator(moment)]
"""With its offset from UTC; a `+` is sent as `%2B`."""
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Form = Literal["json", "csv"]


class NoQuery(BaseModel):
    """The query of a call that takes none."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class AccountQuery(NoQuery):
    account: AccountId | None = None
    """Whose. An admin's key may name any account; others have their own."""


class JobQuery(NoQuery):
    inline: str | None = Field(default=None, pattern=rf"^(?:{IMAGE_ID_PATTERN})$")
    """The name of an output whose pictures come as `data:` URLs, as far as they fit into 32 MB."""
    wait: int = Field(default=0, ge=0, le=60)
    """Answer when the job has ended, or after so many seconds as it stands then."""
    after: int | None = Field(default=None, ge=0, le=MAX_SEED)
    """With `wait`: answer already when the job's `seq` is greater than this."""


class LinkQuery(NoQuery):
    """What makes a link, which is followed as it was given."""

    expires: str | None = None
    """Of a signed link: until when it is good, in seconds since 1970."""
    key: str | None = None
    """Of a signed link: what it was signed with."""
    signature: str | None = None
    """Of a signed link: that it was."""
    link: str | None = None
    """Of a lasting link, of a job with `visibility` `link`."""


class PictureQuery(LinkQuery):
    download: Literal["1"] | None = None
    """To be saved rather than shown. May be added to any link."""

    @property
    def is_download(self) -> bool:
        return self.download is not None


class ArchiveQuery(LinkQuery):
    output: str | None = Field(default=None, pattern=rf"^(?:{IMAGE_ID_PATTERN})$")
    """Which of the job's outputs; without it the first. May be added to any link."""


class EveryAccountQuery(NoQuery):
    account: AccountId | Literal["*"] | None = None
    """Whose. An admin's key may name any account, or `*` for all of them; others have their own."""


class TableQuery(EveryAccountQuery):
    format: Form | None = None
    """`csv`: all of it as a table. Without it, `Accept` says which."""


class HistoryQuery(TableQuery):
    """`metadata.{key}` parameters come beside these, which is why others are let through here."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    created_after: Moment | None = None
    """With its offset from UTC; a `+` is sent as `%2B`."""
    created_before: Moment | None = None
    group: Group | None = None
    """With an image in this group."""
    provider: Name | None = None
    """With an image that this provider has made, or was asked last."""
    model: Name | None = None
    error_kind: ErrorKind | None = None
    """With an image that ended with an error of this kind. One image has to meet all that is asked of any."""
    limit: int = Field(default=20, ge=1, le=100)
    """Of a page. A table has all there is unless this is said."""
    cursor: str | None = Field(default=None, max_length=200)
    """`next_cursor` of the page before, with the same filters."""


class JobsQuery(HistoryQuery):
    status: list[JobState] = Field(default=[], max_length=7)
    """In this state; given several times, in one of them."""


class ImagesQuery(HistoryQuery):
    status: list[ImageState] = Field(default=[], max_length=9)
    """In this state; given several times, in one of them."""


class EventsQuery(NoQuery):
    after: int | None = Field(default=None, ge=0, le=MAX_SEED)
    """Events later than this one. Without it a page begins with the first one, a stream with the job as it is."""
    limit: int | None = Field(default=None, ge=1, le=1000)
    """Of a page: 100 when it is not said. A stream has none."""


class FeedQuery(AccountQuery):
    after: str | None = Field(default=None, max_length=200)
    """`next_cursor` of the page before; without it the feed begins with the oldest event that is kept."""
    limit: int = Field(default=100, ge=1, le=1000)
    wait: int = Field(default=0, ge=0, le=60)
    """When there is nothing new, answer as soon as there is, or after so many seconds."""
