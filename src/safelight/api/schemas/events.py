"""The event log, as answers show it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from safelight.api.schemas.base import Answer


class Event(Answer):
    type: str
    timestamp: datetime
    data: dict[str, Any]
    """`job_id` and `seq`, `image_id` where it concerns one, and what the type adds."""


class EventPage(Answer):
    events: list[Event]
    next_after: int
    """`after` of the next page; the same again when nothing has happened since."""


class FeedPage(Answer):
    events: list[Event]
    """Notices that belong to no job are among them."""
    next_cursor: str
    """`after` of the next page; the same again when nothing has happened since."""
