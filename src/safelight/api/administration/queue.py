"""The backlog as a whole: how much waits, for whom and for how long, and whether anything is bought."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from safelight.api import schemas
from safelight.api.access import ADMINISTERS, Reads, reach_of
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import problems
from safelight.api.schemas import ProviderQueue, Queue
from safelight.engine.estimates.backlog import ProviderBacklog, average_wait_seconds, backlog_of, processing_seconds
from safelight.engine.estimates.outlook import Lookout
from safelight.engine.pause import pause, resume

NoQuery = Annotated[schemas.NoQuery, Query()]


def queue_routes(deps: ApiDependencies, lookout: Lookout) -> APIRouter:
    router = APIRouter(prefix="/v1/queue", tags=["queue"])

    async def queue(account: str | None = None) -> Queue:
        backlog = await backlog_of(deps.pool, lookout, account=account, acquire_seconds=deps.acquire_seconds)
        in_force = backlog.pause
        return Queue(
            queued=sum(each.queued for each in backlog.providers),
            active=sum(each.active for each in backlog.providers),
            average_wait_seconds=_rounded(average_wait_seconds(backlog.providers)),
            estimated_processing_seconds=_rounded(processing_seconds(backlog)),
            by_provider=[_shown(each) for each in backlog.providers],
            paused=in_force is not None,
            paused_since=in_force.since if in_force else None,
            pause_reason=in_force.reason if in_force else None,
        )

    @router.get("", responses=problems(503))
    async def show_queue(caller: Reads, _: NoQuery) -> Queue:
        """How many images wait and run, for whom and for how long, and whether buying is paused. An admin's key is told
        of the whole installation, others of their own account alone."""
        return await queue(reach_of(caller))

    @router.post("/pause", dependencies=[ADMINISTERS], responses=problems(503))
    async def pause_queue(_: NoQuery) -> Queue:
        """Nothing is bought from now on. Calls that were sent go on."""
        await pause(deps.pool, reason="paused over the API")
        lookout.forget()
        return await queue()

    @router.post("/resume", dependencies=[ADMINISTERS], responses=problems(503))
    async def resume_queue(_: NoQuery) -> Queue:
        """Buying goes on."""
        await resume(deps.pool)
        lookout.forget()
        deps.admission.nudge()
        return await queue()

    return router


def _shown(each: ProviderBacklog) -> ProviderQueue:
    return ProviderQueue(
        provider=each.provider,
        queued=each.queued,
        active=each.active,
        max_concurrency=each.max_concurrency,
        state=each.standing,
        average_wait_seconds=_rounded(average_wait_seconds([each])),
        p50_seconds=_rounded(each.latency.p50_seconds if each.latency is not None else None),
        p90_seconds=_rounded(each.latency.p90_seconds if each.latency is not None else None),
    )


def _rounded(seconds: float | None) -> float | None:
    return round(seconds, 3) if seconds is not None else None
