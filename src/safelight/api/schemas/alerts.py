"""Alerts, as an operator is shown them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from safelight.api.schemas.base import Answer


class Alert(Answer):
    """What a rule has found. One that is over is shown for a week."""

    rule: str
    """`success_rate`, `stuck`, …: see the table in the documentation."""
    subject: str
    """What it concerns: a provider, an account, an endpoint, a schedule. Empty: the whole installation."""
    state: Literal["firing", "resolved"]
    severity: Literal["warning", "critical"]
    """Now; of one that is over, the worst that was told."""
    title: str
    """The same for as long as it lasts."""
    detail: str
    """The figures as they were when it was looked at last, against the threshold."""
    remedy: str
    """What to do."""
    page: str
    """The page of the dashboard that shows more."""
    since: datetime
    """When what it tells of began, or was first seen."""
    firing_since: datetime
    """When it was first told."""
    clear_since: datetime | None
    """It seems to be over since then, and is once that has lasted. Null: it goes on."""
    notified_at: datetime | None
    """When one of the operator's services last took a message about it. Null: none has."""
    resolved_at: datetime | None


class Alerts(Answer):
    evaluated_at: datetime | None
    """When the rules were last looked at. Null: nobody has yet."""
    alerts: list[Alert]
    """Those that fire, the gravest first; then those that are over, the newest first."""
