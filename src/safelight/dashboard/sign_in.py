"""Signing in with a key, and out again."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from safelight.api.edge.session import SESSION_COOKIE, SESSION_SECONDS, Sessions
from safelight.dashboard.inside import Refused
from safelight.dashboard.visit import Pages, Visit, set_cookie

_MOST_CHARACTERS = 300


def sign_in_routes(pages: Pages, sessions: Sessions) -> list[Route]:
    async def show(visit: Visit) -> Response:
        if visit.caller is not None:
            return visit.go_to(_next_of(visit.request.query_params.get("next")))
        return visit.page("sign_in.html", next=visit.request.query_params.get("next", ""), problem=None)

    async def sign_in(visit: Visit) -> Response:
        form = await visit.form()
        key, following = str(form.get("key", "")).strip(), str(form.get("next", ""))
        try:
            if not key or len(key) > _MOST_CHARACTERS or not key.isascii() or not key.isprintable():
                raise Refused(401, {})
            bearer = {"Authorization": f"Bearer {key}"}
            await pages.inside.ask("GET", "/v1/recipes", caller=None, headers=bearer)
        except Refused as refused:
            if refused.status not in (401, 403):
                raise
            detail = "This key is not good here." if refused.status == 401 else "This key may not read."
            problem = {"title": "You are not signed in", "detail": detail}
            return visit.page("sign_in.html", status=refused.status, next=following, problem=problem)
        response = visit.go_to(_next_of(following))
        set_cookie(visit.request, response, SESSION_COOKIE, sessions.issue(key), max_age_seconds=SESSION_SECONDS)
        return response

    async def sign_out(visit: Visit) -> Response:
        await visit.form()
        response = visit.go_to("/sign-in")
        response.delete_cookie(SESSION_COOKIE, path="/")
        return response

    return [
        pages.route("/sign-in", show, is_open=True),
        pages.route("/sign-in", sign_in, methods=("POST",), is_open=True),
        pages.route("/sign-out", sign_out, methods=("POST",), is_open=True),
    ]


def _next_of(path: str | None) -> str:
    """A page of ours, or the first one: nobody is sent elsewhere."""
    is_ours = path is not None and path.startswith("/") and not path.startswith(("//", "/\\")) and "\n" not in path
    return path if path is not None and is_ours else "/"
