"""The backlog as a whole: how much waits, and whether anything is bought."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from safelight.api import schemas
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import problems
from safelight.api.schemas import Queue
from safelight.db.statements import load
from safelight.engine.pause import pause, paused, resume

_SQL = load("read")

NoQuery = Annotated[schemas.NoQuery, Query()]


def queue_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/queue", tags=["queue"])

    async def queue() -> Queue:
        row = await deps.pool.fetchrow(_SQL.backlog)
        assert row is not None
        in_force = await paused(deps.pool)
        return Queue(
            queued=row["queued"],
            active=row["active"],
            paused=in_force is not None,
            paused_since=in_force.since if in_force else None,
            pause_reason=in_force.reason if in_force else None,
        )

    @router.get("", responses=problems(503))
    async def show_queue(_: NoQuery) -> Queue:
        """How many images wait and run, and whether buying is paused."""
        return await queue()

    @router.post("/pause", responses=problems(503))
    async def pause_queue(_: NoQuery) -> Queue:
        """Nothing is bought from now on. Calls that were sent go on."""
        await pause(deps.pool, reason="paused over the API")
        return await queue()

    @router.post("/resume", responses=problems(503))
    async def resume_queue(_: NoQuery) -> Queue:
        """Buying goes on."""
        await resume(deps.pool)
        deps.admission.nudge()
        return await queue()

    return router
