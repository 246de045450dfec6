"""The app as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse
from starlette.staticfiles import StaticFiles

from examples.storyboard.pages import STATIC, page_routes
from examples.storyboard.problems import Problem
from examples.storyboard.routes import api_routes
from examples.storyboard.settings import Settings
from examples.storyboard.store import Store
from examples.storyboard.studio import Studio
from examples.storyboard.webhook import webhook_routes
from safelight.client import SafelightClient

_PATIENCE_SECONDS = 2.0
"""What cannot be done within it is left to the sweep, or told to who asked."""


def create_app(settings: Settings) -> FastAPI:
    """Its store is open, and its sweep runs, for as long as the app is served."""
    store = Store(settings.data_dir / "storyboard.sqlite3")
    client = SafelightClient(
        settings.safelight_url,
        api_key=settings.safelight_api_key,
        timeout_seconds=10.0,
        patience_seconds=_PATIENCE_SECONDS,
    )
    studio = Studio(store, client, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sweep = asyncio.create_task(studio.sweep_for_ever(), name="sweep")
        try:
            yield
        finally:
            sweep.cancel()
            await asyncio.gather(sweep, return_exceptions=True)
            await studio.close()
            await client.aclose()
            await store.close()

    app = FastAPI(title="Storyboard", lifespan=lifespan)
    app.include_router(api_routes(studio, store, client))
    app.include_router(webhook_routes(studio, settings))
    app.include_router(page_routes(studio, store, client))
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.exception_handler(Problem)
    async def refuse(_: Request, problem: Problem) -> JSONResponse:
        body = {"code": problem.code, "message": problem.message, "faults": problem.faults}
        return JSONResponse(body, status_code=problem.status)

    return app
