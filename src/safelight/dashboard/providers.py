"""Providers: whether they answer, what stands in their way, and what their models take and cost."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.visit import Pages, Visit


def provider_routes(pages: Pages) -> list[Route]:
    return [pages.route("/providers", _show), pages.route("/providers/live", _show_part)]


async def _show(visit: Visit) -> Response:
    return visit.page("providers.html", **await _providers(visit))


async def _show_part(visit: Visit) -> Response:
    return visit.page("providers_part.html", **await _providers(visit))


async def _providers(visit: Visit) -> dict[str, Any]:
    found = await visit.get("/v1/providers")
    return {"providers": found["providers"], "default": found["default"]}
