"""The backlog: how much waits and for whom, who is next, and whether anything is bought."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.live import live_jobs
from safelight.dashboard.visit import Pages, Visit

_MOST_JOBS = 30
_SWITCHES = ("pause", "resume")


def queue_routes(pages: Pages) -> list[Route]:
    return [
        pages.route("/queue", _show),
        pages.route("/queue/live", _show_backlog),
        *(pages.route(f"/queue/{switch}", _ask, methods=("GET",)) for switch in _SWITCHES),
        *(pages.route(f"/queue/{switch}", _switch, methods=("POST",)) for switch in _SWITCHES),
    ]


async def _show(visit: Visit) -> Response:
    return visit.page("queue.html", **await _backlog(visit))


async def _show_backlog(visit: Visit) -> Response:
    return visit.page("queue_backlog.html", **await _backlog(visit))


async def _ask(visit: Visit) -> Response:
    """Whether it is meant: it concerns everybody."""
    return visit.page("queue_switch.html", switch=_switch_in(visit), queue=await visit.get("/v1/queue"))


async def _switch(visit: Visit) -> Response:
    await visit.form()
    await visit.send("POST", f"/v1/queue/{_switch_in(visit)}")
    return visit.go_to("/queue")


async def _backlog(visit: Visit) -> dict[str, Any]:
    live = await live_jobs(visit, most=_MOST_JOBS)
    return {"queue": await visit.get("/v1/queue"), "live": live}


def _switch_in(visit: Visit) -> str:
    return visit.request.url.path.rsplit("/", 1)[1]
