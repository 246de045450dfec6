"""How generation does: a few figures, what somebody should know, and how it went over the last hours or days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape
from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.inside import Refused
from safelight.dashboard.visit import Pages, Visit

OUTCOMES = ("completed", "refused", "failed", "uncertain", "canceled")
_WINDOWS = {"24h": "24 hours", "7d": "7 days"}
_STEPS = {"24h": "hour", "7d": "six hours"}


def health_routes(pages: Pages) -> list[Route]:
    pages.templates.filters["ticked"] = _ticked
    return [pages.route("/health", _show), pages.route("/health/live", _show_figures)]


async def _show(visit: Visit) -> Response:
    return visit.page("health.html", **await _figures(visit))


async def _show_figures(visit: Visit) -> Response:
    return visit.page("health_figures.html", **await _figures(visit))


async def _figures(visit: Visit) -> dict[str, Any]:
    window = visit.request.query_params.get("window", "24h")
    window = window if window in _WINDOWS else "24h"
    found = await visit.get("/api/metrics/image-generation", window=window)
    firing, resolved = await _alerts(visit)
    return {
        "found": found,
        "firing": firing,
        "resolved": resolved,
        "window": window,
        "windows": _WINDOWS,
        "step": _STEPS[window],
        "outcomes": OUTCOMES,
        "series": found["series"],
        "chart_data": _columns(found["series"]),
    }


async def _alerts(visit: Visit) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Those that fire, and those that are over; none for whom they do not concern."""
    if not visit.may("admin"):
        return [], []
    try:
        alerts = (await visit.get("/v1/alerts"))["alerts"]
    except Refused as refused:
        if refused.status not in (403, 404):
            raise
        return [], []
    firing = [each for each in alerts if each["state"] == "firing"]
    return firing, [each for each in alerts if each["state"] != "firing"]


def _columns(series: Sequence[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    """Each figure in the order of time, `at` in seconds since 1970, sums in dollars."""
    return {
        "at": [datetime.fromisoformat(point["at"]).timestamp() for point in series],
        **{name: [point[name] for point in series] for name in OUTCOMES},
        "average_seconds": [point["average_generation_seconds"] for point in series],
        "p90_seconds": [point["p90_generation_seconds"] for point in series],
        "cost_usd": [float(point["cost_usd"]) for point in series],
    }


def _ticked(text: str) -> Markup:
    """What stands between backticks is a name or a command; a last one without its fellow stays."""
    *pairs, last = text.split("`")
    if len(pairs) % 2:
        last = f"{pairs.pop()}`{last}"
    marked = [Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(pairs)]
    return Markup("").join((*marked, escape(last)))
