"""API keys: who has one, and what it is good for."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.visit import Pages, Visit


def key_routes(pages: Pages) -> list[Route]:
    async def show(visit: Visit) -> Response:
        found = await visit.get("/v1/keys", cursor=visit.request.query_params.get("cursor"))
        return visit.page("keys.html", keys=found["keys"], next_cursor=found["next_cursor"])

    return [pages.route("/keys", show)]
