"""Calls to vendors, one by one: what each brought and what it cost."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from safelight.api.schemas.base import Answer, Usd
from safelight.api.schemas.queries import NoQuery
from safelight.domain.ids import IMAGE_ID_PATTERN


class AttemptsQuery(NoQuery):
    image: str | None = Field(default=None, pattern=rf"^(?:{IMAGE_ID_PATTERN})$")
    """Only those of this image."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: str | None = Field(default=None, max_length=200)
    """`next_cursor` of the page before, with the same `image`."""


class Attempt(Answer):
    image: str
    number: int
    """The image's first, second, …; all its runs together."""
    run: int
    provider: str
    model: str
    status: Literal["sent", "submitted", "received", "settled", "unbilled", "no_image", "refused", "unknown"]
    """`sent` and `submitted` may still answer; `received` has brought a picture, and with `settled` it is delivered."""
    error_kind: str | None
    error_code: str | None
    started_at: datetime
    ended_at: datetime | None
    cost_usd: Usd | None
    """Null: not known, or not yet."""
    basis: Literal["usage", "table", "estimate", "unknown"] | None
    """Where the cost comes from. Null: it is not booked yet."""
    billed: Literal["yes", "no", "unknown"] | None
    """Null: it may still answer."""


class AttemptPage(Answer):
    attempts: list[Attempt]
    """By the order of the images, and for each in the order of its calls."""
    next_cursor: str | None
    """Null on the last page."""
