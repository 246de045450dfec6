"""Webhooks: what a caller sends about them, and what it is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from safelight.api.schemas.base import Answer, Request, exactly
from safelight.api.schemas.queries import AccountQuery
from safelight.domain.events import PROGRESS, EventType, NoticeType

JOB_EVENTS = (*(each.value for each in EventType), PROGRESS)
ALL_EVENTS = (*JOB_EVENTS, *(each.value for each in NoticeType))
MAX_URL_CHARS = 2048


def _one_of(known: Sequence[str]) -> Callable[[str], str]:
    def check(name: str) -> str:
        if name not in known:
            raise PydanticCustomError("unknown_event", "There is no such event here.")
        return name

    return check


JobEventName = Annotated[str, AfterValidator(_one_of(JOB_EVENTS)), Field(json_schema_extra={"enum": list(JOB_EVENTS)})]
EventName = Annotated[str, AfterValidator(_one_of(ALL_EVENTS)), Field(json_schema_extra={"enum": list(ALL_EVENTS)})]
Url = Annotated[str, Field(max_length=MAX_URL_CHARS, examples=["https://app.example/hooks/safelight"])]
Pause = Annotated[float, Field(ge=1, le=7 * 86_400)]
Description = Annotated[str, Field(min_length=1, max_length=200)]
DeliveryState = Literal["pending", "delivered", "dead"]


class NewJobWebhook(Request):
    """Where this job's events are posted to, signed with the secret of `default`."""

    url: Url
    """HTTPS, on port 443 or 8443, and leading to a public address."""
    events: list[JobEventName] | None = Field(default=None, min_length=1, max_length=len(JOB_EVENTS))
    """The types wanted. Null: all."""


class NewWebhook(Request):
    """An address that hears of every job of the account, and of what concerns the account as a whole."""

    url: Url
    """HTTPS, on port 443 or 8443, and leading to a public address."""
    events: list[EventName] | None = Field(default=None, min_length=1, max_length=len(ALL_EVENTS))
    """The types wanted. Null: all."""
    description: Description | None = None
    retry_seconds: list[Pause] | None = Field(default=None, min_length=1, max_length=20)
    """Pauses after each failed attempt at a message about a job's end. Null: ten attempts over three days."""


class WebhookChange(Request):
    """What is left out stays as it is."""

    url: Url = Field(default_factory=str)
    events: list[EventName] | None = Field(default_factory=lambda: None, min_length=1, max_length=len(ALL_EVENTS))
    description: Description | None = Field(default_factory=lambda: None)
    retry_seconds: list[Pause] | None = Field(default_factory=lambda: None, min_length=1, max_length=20)
    enabled: Annotated[Literal[True], exactly(bool)] = Field(default_factory=lambda: True)
    """Lets a webhook that was disabled hear again of what happens from now on."""


class NewRotation(Request):
    overlap_seconds: float = Field(default=86_400.0, ge=0, le=7 * 86_400)
    """For so long the secret before signs beside the new one."""


class Webhook(Answer):
    id: str
    job_id: str | None
    """The job whose request named this address. Null: it hears of all."""
    url: str
    events: list[str] | None
    description: str | None
    retry_seconds: list[float] | None
    created_at: datetime
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    """The first failure since the last success."""


class CreatedWebhook(Webhook):
    secret: str
    """Shown this once."""


class Webhooks(Answer):
    webhooks: list[Webhook]


class RotatedSecret(Answer):
    id: str
    secret: str
    """Shown this once."""
    previous_expires_at: datetime | None
    """Until then the secret before signs too. Null: there was none."""


class Delivery(Answer):
    """One message to one webhook."""

    id: str
    """Its `webhook-id`, the same on every attempt."""
    webhook_id: str
    type: str
    job_id: str | None
    seq: int | None
    status: DeliveryState
    attempt_count: int
    created_at: datetime
    next_attempt_at: datetime | None
    """Not before then; of a pending one whose turn it is."""
    attempted_at: datetime | None
    delivered_at: datetime | None
    http_status: int | None
    """Of the latest answer."""
    error: str | None
    """Why the latest attempt failed."""
    reply: str | None
    """The beginning of the latest answer, at most 1 KB."""


class DeliveryPage(Answer):
    deliveries: list[Delivery]
    next_cursor: str | None
    """Null on the last page."""


class DeliveriesQuery(AccountQuery):
    webhook_id: str | None = Field(default=None, pattern=r"^whe_[0-9A-HJKMNP-TV-Z]{26}$")
    job_id: str | None = Field(default=None, pattern=r"^job_[0-9A-HJKMNP-TV-Z]{26}$")
    status: DeliveryState | None = None
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=200)
    """`next_cursor` of the page before, with the same filters."""
