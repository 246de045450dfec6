"""The first page: what is being made, and what was made last."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.live import ENDED, everybody, live_jobs
from safelight.dashboard.visit import Pages, Visit

_MOST_LIVE = 30
_MOST_ENDED = 20


def home_routes(pages: Pages) -> list[Route]:
    async def show(visit: Visit) -> Response:
        return visit.page("home.html", **await _lists(visit))

    async def show_lists(visit: Visit) -> Response:
        return visit.page("home_lists.html", **await _lists(visit))

    return [pages.route("/", show), pages.route("/live", show_lists)]


async def _lists(visit: Visit) -> dict[str, Any]:
    ended = await visit.get("/v1/jobs", status=ENDED, limit=_MOST_ENDED, account=everybody(visit))
    return {
        "live": await live_jobs(visit, most=_MOST_LIVE),
        "ended": ended["jobs"],
        "has_more_ended": ended["next_cursor"] is not None,
        "queue": await visit.get("/v1/queue"),
    }
