"""The service itself and its backlog."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from safelight.api.schemas.base import Answer


class Health(Answer):
    status: Literal["ok"]


class Queue(BaseModel):
    """The backlog of the installation. While it is paused nothing is bought; what is bought already is finished."""

    queued: int
    active: int
    paused: bool
    paused_since: datetime | None = None
    pause_reason: str | None = None
