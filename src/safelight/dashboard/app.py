"""The dashboard, put together."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route

from safelight.api.edge.openapi import Application
from safelight.api.edge.session import Sessions
from safelight.dashboard.accounts import account_routes
from safelight.dashboard.health import health_routes
from safelight.dashboard.history import history_routes
from safelight.dashboard.home import home_routes
from safelight.dashboard.inside import Inside
from safelight.dashboard.jobs import job_routes
from safelight.dashboard.keys import key_routes
from safelight.dashboard.new_job import new_job_routes
from safelight.dashboard.providers import provider_routes
from safelight.dashboard.queue import queue_routes
from safelight.dashboard.schedules import schedule_routes
from safelight.dashboard.sign_in import sign_in_routes
from safelight.dashboard.visit import PREFIX, Pages, Visit
from safelight.dashboard.webhooks import webhook_routes


def add_dashboard(
    app: Application, *, sessions: Sessions, public_url: str | None, bucket_url: str | None = None
) -> None:
    """Afterwards the application has pages for people below `/dashboard`, and `/` leads there. `bucket_url` is where a
    bucket hands out pictures itself, if not at its vendor's own address."""
    pages = Pages(Inside(app), pictures_from=(public_url, bucket_url))
    routes = [
        *sign_in_routes(pages, sessions),
        *home_routes(pages),
        *job_routes(pages),
        *new_job_routes(pages),
        *queue_routes(pages),
        *history_routes(pages),
        *health_routes(pages),
        *schedule_routes(pages),
        *webhook_routes(pages),
        *account_routes(pages),
        *provider_routes(pages),
        *key_routes(pages),
        Route("/static/{name:path}", pages.assets.serve),
        pages.route("/{rest:path}", _unknown),
    ]
    app.router.routes.append(Mount(PREFIX, routes=routes, middleware=[Middleware(GZipMiddleware, minimum_size=1000)]))
    app.router.routes.append(Route("/", _to_dashboard, include_in_schema=False))
    app.router.routes.append(Route(PREFIX, _to_dashboard, include_in_schema=False))


async def _unknown(visit: Visit) -> Response:
    return visit.page("problem.html", status=404, problem={"title": "There is no such page"})


async def _to_dashboard(_: Request) -> Response:
    return RedirectResponse(f"{PREFIX}/", 307)
