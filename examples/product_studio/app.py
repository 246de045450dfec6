"""The app, put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

from examples.product_studio.accounts import Accounts
from examples.product_studio.api import api
from examples.product_studio.hooks import hooks
from examples.product_studio.pages import pages
from examples.product_studio.photos import photos
from examples.product_studio.problems import Away, Problem, form_problem, passed_on
from examples.product_studio.settings import Settings
from examples.product_studio.store import Store
from examples.product_studio.studio import Studio, kept
from safelight.client import ApiProblem, SafelightClient, Unreachable

_TIMEOUT_SECONDS = 10.0
_PATIENCE_SECONDS = 2.0
"""How long a user waits while Safelight stumbles; what was ordered is sent later then."""
_POLICY = "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"


def create_app(settings: Settings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = Store(settings.data_dir)
        try:
            async with SafelightClient(
                settings.safelight_url,
                api_key=settings.api_key,
                timeout_seconds=_TIMEOUT_SECONDS,
                patience_seconds=_PATIENCE_SECONDS,
            ) as safelight:
                accounts = Accounts(safelight=safelight, store=store, welcome_tokens=settings.welcome_tokens)
                studio = Studio(safelight=safelight, store=store, accounts=accounts, own_url=settings.own_url)
                app.state.studio = studio
                async with kept(studio, sweep_seconds=settings.sweep_seconds):
                    yield
        finally:
            store.close()

    app = FastAPI(title="Product studio", lifespan=lifespan)
    for router in (pages, api, photos, hooks):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.get("/healthz", include_in_schema=False)(_healthz)
    app.middleware("http")(_with_policy)
    app.exception_handler(Problem)(_say_no)
    app.exception_handler(ApiProblem)(_say_what_safelight_says)
    app.exception_handler(Unreachable)(_say_away)
    app.exception_handler(RequestValidationError)(_say_what_is_wrong)
    return app


async def _healthz() -> dict[str, str]:
    """The process answers; it does so without Safelight, too."""
    return {"status": "ok"}


async def _with_policy(request: Request, following: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await following(request)
    response.headers.setdefault("content-security-policy", _POLICY)
    return response


def _say_no(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return JSONResponse(problem.body, problem.status, media_type="application/problem+json")


def _say_what_safelight_says(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, ApiProblem)
    return _say_no(request, passed_on(problem))


def _say_away(request: Request, _: Exception) -> Response:
    return _say_no(request, Away())


def _say_what_is_wrong(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors: list[Any] = list(error.errors())
    return _say_no(request, form_problem(errors))
