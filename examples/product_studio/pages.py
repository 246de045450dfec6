"""The one page: a form, the visitor's orders, and what they have. What changes is fetched again as the same HTML."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from examples.product_studio.api import choices_of, statistics_of
from examples.product_studio.photos import shown_photo
from examples.product_studio.standings import shown
from examples.product_studio.store import User
from examples.product_studio.studio import Studio
from examples.product_studio.visitors import COOKIE, TheStudio, Visitor, require_own_page, who
from examples.product_studio.wishes import MAX_SCENES
from safelight.client import ApiProblem, Unreachable

_ORDERS_SHOWN = 12
_ENTRIES_SHOWN = 10
_WAIT_SECONDS = 3.0
"""How long the page waits for what only Safelight knows, before it is shown without."""
_YEAR_SECONDS = 365 * 86400

_templates = Jinja2Templates(Path(__file__).parent / "templates")

pages = APIRouter(include_in_schema=False)


@pages.get("/")
async def studio_page(request: Request, studio: TheStudio) -> HTMLResponse:
    user = await who(request)
    if user is None:
        return _page(request, "sign_in.html")
    photos = [shown_photo(each) for each in await studio.store.photos(user.id)]
    offered, seen = await asyncio.gather(_offered(studio, user), _orders_seen(studio, user))
    return _page(request, "studio.html", user=user, photos=photos, max_scenes=MAX_SCENES, **offered, **seen)


@pages.get("/parts/orders")
async def orders_part(request: Request, studio: TheStudio, user: Visitor) -> HTMLResponse:
    """The list of orders and the balance, as they are now."""
    return _page(request, "orders.html", **await _orders_seen(studio, user))


@pages.post("/sign-up")
async def sign_up(request: Request, studio: TheStudio, name: Annotated[str, Form(max_length=80)]) -> Response:
    """Somebody new, who sees their token this once."""
    require_own_page(request)
    if not name.strip():
        return _page(request, "sign_in.html", 422, fault="Say what you are called.")
    try:
        user, token = await studio.accounts.sign_up(name.strip())
    except (Unreachable, ApiProblem):
        return _page(request, "sign_in.html", 503, fault="No account can be made just now. Try again in a moment.")
    response = _page(request, "welcome.html", user=user, token=token)
    return _signed_in(response, token)


@pages.post("/sign-in")
async def sign_in(request: Request, studio: TheStudio, token: Annotated[str, Form(max_length=200)]) -> Response:
    require_own_page(request)
    if await studio.accounts.signed_in(token.strip()) is None:
        return _page(request, "sign_in.html", 401, fault="Nobody has this token.")
    return _signed_in(RedirectResponse("/", 303), token.strip())


@pages.post("/sign-out")
async def sign_out(request: Request) -> Response:
    require_own_page(request)
    response = RedirectResponse("/", 303)
    response.delete_cookie(COOKIE)
    return response


async def _offered(studio: Studio, user: User) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            return {
                "choices": await choices_of(studio, user.id),
                "statistics": await statistics_of(studio, user.id, days=30),
                "entries": (await studio.accounts.statement(user, limit=_ENTRIES_SHOWN))["entries"],
            }
    except (Unreachable, ApiProblem, TimeoutError):
        return {"choices": None, "statistics": None, "entries": []}


async def _orders_seen(studio: Studio, user: User) -> dict[str, Any]:
    newest = await studio.store.generations(user.id, before=None, limit=_ORDERS_SHOWN, filters={})
    seen, balance = await asyncio.gather(studio.look_at(newest), _balance(studio, user))
    return {"orders": [shown(each, is_fresh=is_fresh) for each, is_fresh in seen], "balance": balance}


async def _balance(studio: Studio, user: User) -> dict[str, int] | None:
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            return await studio.accounts.balance(user)
    except (Unreachable, ApiProblem, TimeoutError):
        return None


def _page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    return _templates.TemplateResponse(request, template, values, status, headers={"cache-control": "no-store"})


def _signed_in(response: Response, token: str) -> Response:
    response.set_cookie(COOKIE, token, max_age=_YEAR_SECONDS, httponly=True, samesite="strict")
    return response
