"""What an operator should know, for those who administer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from safelight.api import schemas
from safelight.api.access import ADMINISTERS
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import problems
from safelight.api.schemas.alerts import Alert, Alerts
from safelight.engine.watch import alerts as engine

NoQuery = Annotated[schemas.NoQuery, Query()]

_SHOWN_SECONDS = 7 * 86_400.0


def alert_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/alerts", tags=["alerts"], dependencies=[ADMINISTERS])

    @router.get("", responses=problems(503))
    async def list_alerts(_: NoQuery) -> Alerts:
        """What fires now, and what was resolved in the last week, a hundred of these at most."""
        found = await engine.alerts_shown(
            deps.pool, within_seconds=_SHOWN_SECONDS, acquire_seconds=deps.acquire_seconds
        )
        looked_at = await engine.last_look(deps.pool, acquire_seconds=deps.acquire_seconds)
        return Alerts(evaluated_at=looked_at, alerts=[_shown(each) for each in found])

    return router


def _shown(each: engine.Alert) -> Alert:
    return Alert(
        rule=each.rule.value,
        subject=each.subject,
        state="firing" if each.resolved_at is None else "resolved",
        severity=each.severity.value,
        title=each.title,
        detail=each.found,
        remedy=each.remedy,
        page=each.page,
        since=each.since,
        firing_since=each.firing_since,
        clear_since=each.clear_since,
        notified_at=each.notified_at,
        resolved_at=each.resolved_at,
    )
