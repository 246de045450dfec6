"""The service itself and its backlog."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from safelight.api.schemas.base import Answer


class Health(Answer):
    status: Literal["ok"]


class ProviderQueue(Answer):
    provider: str
    queued: int
    active: int
    max_concurrency: int | None
    """Null: it is not configured any more."""
    state: Literal["open", "shut", "limited"]
    """Of the worst of its gates."""
    average_wait_seconds: float | None
    """That an image had waited for its first call, of those called of late. Null: there were none."""
    p50_seconds: float | None
    """Half of its latest calls took so long at most, until the picture was stored. Null: there were none."""
    p90_seconds: float | None


class Queue(Answer):
    """The backlog of the installation. While it is paused nothing is bought; what is bought already is finished."""

    queued: int
    active: int
    average_wait_seconds: float | None
    """Over all providers."""
    estimated_processing_seconds: float | None
    """Until all that is due now has ended, as likely sooner as later. Null: nobody can tell."""
    by_provider: list[ProviderQueue]
    paused: bool
    paused_since: datetime | None = None
    pause_reason: str | None = None
