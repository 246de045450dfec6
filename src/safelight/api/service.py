"""The service itself: is it alive, can it work, and what do its problems mean."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from starlette.responses import PlainTextResponse

from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import problems
from safelight.api.edge.problems import PROBLEMS
from safelight.api.schemas import Health
from safelight.domain.errors import NotFound, Unavailable

_READY_SECONDS = 2.0


def service_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(tags=["service"])

    @router.get("/healthz")
    async def healthz() -> Health:
        """This process answers. It asks nobody else."""
        return Health(status="ok")

    @router.get("/readyz", responses=problems(503))
    async def readyz() -> Health:
        """The database answers, within two seconds."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                await deps.ready()
        except TimeoutError:
            raise Unavailable(f"The database did not answer within {_READY_SECONDS:g} seconds.") from None
        return Health(status="ok")

    @router.get("/problems/{slug}", response_class=PlainTextResponse, responses=problems(404))
    async def explain_problem(slug: str) -> PlainTextResponse:
        """What a problem's `type` means, for a person."""
        if slug not in PROBLEMS:
            raise NotFound("There is no such problem.")
        kind = PROBLEMS[slug]
        again = "The same request may succeed later." if kind.is_retryable else "The same request will fail again."
        return PlainTextResponse(f"{kind.title} ({kind.status})\n\n{kind.text}\n\n{again}\n")

    return router
