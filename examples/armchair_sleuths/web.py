"""The game over HTTP: for players, for moderators, for the clock, and for Safelight."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from safelight.client import ApiProblem, SafelightClient, Unreachable
from safelight.client.webhooks import NotVerified, verify

from .case import Case
from .game import Game
from .pictures import NoCase, NotForThisCase, Pictures
from .settings import Settings
from .store import Store

_HERE = Path(__file__).parent
_MOST_WEBHOOK_BYTES = 64_000
_PAGE_HEADERS = {
    # Pictures come from Safelight or its storage, everything else from here; and nobody frames the moderator's buttons.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src http: https: data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
_templates = Jinja2Templates(directory=_HERE / "templates")

CaseId = Annotated[str, StringConstraints(pattern=r"^case-[a-z0-9-]{1,64}$")]
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


class Chosen(BaseModel):
    """Which case a moderator means; the latest, where none is named."""

    model_config = ConfigDict(extra="forbid")

    case_id: CaseId | None = Field(default=None, alias="caseId")


def create_app(settings: Settings) -> FastAPI:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = open_store(settings)
        key = settings.safelight_api_key
        safelight = SafelightClient(settings.safelight_url, api_key=key.get_secret_value() if key else None)
        app.state.game = game = Game(Pictures(store, safelight, settings), settings)
        game.start()
        try:
            yield
        finally:
            await game.aclose()
            await safelight.aclose()
            await store.aclose()

    app = FastAPI(title="Armchair Sleuths", lifespan=lifespan)
    app.state.settings = settings
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
    )
    app.add_exception_handler(NoCase, _no_case)
    app.add_exception_handler(Unreachable, _not_now)
    app.add_exception_handler(ApiProblem, _problem)
    app.include_router(_routes)
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    return app


def open_store(settings: Settings) -> Store:
    if settings.redis_url:
        from .redis_store import RedisStore  # needs `pip install redis`

        return RedisStore(settings.redis_url)
    from .file_store import FileStore

    return FileStore(settings.data_dir / "sleuths.sqlite3")


_routes = APIRouter()


def _game(request: Request) -> Game:
    return request.app.state.game


def _moderates(request: Request, authorization: Annotated[str, Header()] = "") -> None:
    token = request.app.state.settings.moderator_token
    if token is None:
        return
    said = authorization.removeprefix("Bearer ").encode()
    if not secrets.compare_digest(said, token.get_secret_value().encode()):
        raise HTTPException(401, "Moderators only.", headers={"WWW-Authenticate": "Bearer"})


def _is_no_foreign_page(request: Request) -> None:
    """Any site may make a browser send a request to an address of its choice, and each case costs its pictures."""
    origin = request.headers.get("origin")
    ours = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if not ours and origin not in request.app.state.settings.origins:
        raise HTTPException(403, "Another site's page may not do this.")


TheGame = Annotated[Game, Depends(_game)]
Moderates = Depends(_moderates)
FromNoForeignPage = Depends(_is_no_foreign_page)


@_routes.get("/healthz", include_in_schema=False)
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@_routes.post("/api/case/create", status_code=201, dependencies=[FromNoForeignPage])
async def create_case(game: TheGame, response: Response, key: Key = None) -> dict[str, Any]:
    """A new case, at once; its pictures come later. With an `Idempotency-Key`, one case however often it is sent."""
    return _made(await game.create(key=key), response)


@_routes.post("/api/cron/daily-case", status_code=201, dependencies=[FromNoForeignPage, Moderates])
async def make_daily_case(game: TheGame, response: Response) -> dict[str, Any]:
    """Today's case: 201 if it was made by this call, 200 if it was there."""
    return _made(await game.daily(), response)


@_routes.get("/api/case/daily")
async def daily_case(game: TheGame) -> dict[str, Any]:
    return (await game.today()).shown()


@_routes.get("/api/case/{case_id}")
async def case(case_id: CaseId, game: TheGame) -> dict[str, Any]:
    return (await game.pictures.case(case_id)).shown()


@_routes.get("/api/image-status/{case_id}")
async def image_status(case_id: CaseId, game: TheGame) -> dict[str, Any]:
    return await game.pictures.status(case_id)


@_routes.post("/api/webhook/image-progress", status_code=204)
async def image_progress(request: Request, game: TheGame, case: Annotated[CaseId, Query()]) -> None:
    """What Safelight tells of a case's job. Anything but a 2xx, and it tells it again."""
    body = await _body(request)
    try:
        event = verify(request.headers, body, request.app.state.settings.webhook_secrets)
    except NotVerified as error:
        raise HTTPException(401, str(error)) from error
    try:
        await game.pictures.hear(case, event)
    except NotForThisCase as error:
        raise HTTPException(404, "That job is not this case's.") from error


@_routes.post("/api/moderator/generate-images", status_code=202, dependencies=[FromNoForeignPage, Moderates])
async def generate_images(game: TheGame, chosen: Chosen | None = None) -> dict[str, Any]:
    """The pictures that are missing are on their way now."""
    case_id = await _chosen(game, chosen)
    await game.pictures.order_again(case_id)
    return {"caseId": case_id, **await game.pictures.status(case_id)}


@_routes.post("/api/moderator/cancel-images", status_code=202, dependencies=[FromNoForeignPage, Moderates])
async def cancel_images(game: TheGame, chosen: Chosen | None = None) -> dict[str, Any]:
    case_id = await _chosen(game, chosen)
    await game.pictures.cancel(case_id)
    return {"caseId": case_id, **await game.pictures.status(case_id)}


@_routes.get("/", response_class=HTMLResponse, include_in_schema=False)
async def front_page(request: Request, game: TheGame) -> Response:
    """Today's case, or else the latest."""
    try:
        return _page(request, await game.today())
    except NoCase:
        pass
    try:
        return _page(request, await game.pictures.latest())
    except NoCase:
        return _page(request, None)


@_routes.get("/cases/{case_id}", response_class=HTMLResponse, include_in_schema=False)
async def page(request: Request, case_id: CaseId, game: TheGame) -> Response:
    return _page(request, await game.pictures.case(case_id))


def _made(made: tuple[Case, bool], response: Response) -> dict[str, Any]:
    case, is_new = made
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/api/case/{case.id}"
    return case.shown()


async def _chosen(game: Game, chosen: Chosen | None) -> str:
    return chosen.case_id if chosen is not None and chosen.case_id else (await game.pictures.latest()).id


async def _body(request: Request) -> bytes:
    """Byte for byte what came, for that is what was signed."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_WEBHOOK_BYTES:
            raise HTTPException(413, "No message of Safelight's is that long.")
    return bytes(body)


def _page(request: Request, case: Case | None) -> Response:
    return _templates.TemplateResponse(request, "case.html", {"case": case}, headers=_PAGE_HEADERS)


async def _no_case(request: Request, error: Exception) -> Response:
    del request
    return JSONResponse({"detail": f"There is no case `{error}`."}, status_code=404)


async def _not_now(request: Request, error: Exception) -> Response:
    del request, error
    return JSONResponse({"detail": "Safelight does not answer just now."}, 503, headers={"Retry-After": "5"})


async def _problem(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, ApiProblem)
    if error.is_retryable:
        return JSONResponse({"detail": str(error)}, 503, headers={"Retry-After": "5"})
    return JSONResponse({"detail": str(error)}, 409 if error.status == 409 else 502)
