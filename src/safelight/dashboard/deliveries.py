"""Messages to webhooks: what became of each, and sending one again."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.forms import corrigible, segment, whose
from safelight.dashboard.inside import Refused
from safelight.dashboard.visit import Pages, Visit

_STATES = ("pending", "delivered", "dead")
_FILTERS = ("webhook_id", "status", "job_id")


def delivery_routes(pages: Pages) -> list[Route]:
    return [
        pages.route("/webhooks/deliveries", _list),
        pages.route("/webhooks/deliveries/{delivery_id}", _show),
        pages.route("/webhooks/deliveries/{delivery_id}/live", _show_part),
        pages.route("/webhooks/deliveries/{delivery_id}/redeliver", _redeliver, methods=("POST",)),
    ]


async def _list(visit: Visit) -> Response:
    """What the API says of a filter that it does not understand stands above the form, which stays as it was."""
    asked = visit.request.query_params
    chosen = {name: asked.get(name, "").strip()[:100] for name in _FILTERS}
    problem, page = None, {"deliveries": [], "next_cursor": None}
    try:
        page = await visit.get(
            "/v1/webhooks/deliveries",
            account=whose(visit),
            cursor=asked.get("cursor"),
            limit=50,
            **{name: value or None for name, value in chosen.items()},
        )
    except Refused as refused:
        problem = corrigible(refused)
    hooks = await visit.get("/v1/webhooks", account=whose(visit))
    return visit.page(
        "deliveries.html",
        status=422 if problem else 200,
        problem=problem,
        deliveries=page["deliveries"],
        next_cursor=page["next_cursor"],
        is_later_page="cursor" in asked,
        webhooks=hooks["webhooks"],
        urls={each["id"]: each["url"] for each in hooks["webhooks"]},
        states=_STATES,
        chosen=chosen,
        account=whose(visit),
    )


async def _show(visit: Visit) -> Response:
    return await _page(visit, "delivery.html")


async def _show_part(visit: Visit) -> Response:
    return await _page(visit, "delivery_part.html")


async def _redeliver(visit: Visit) -> Response:
    await visit.form()
    try:
        sent = await visit.send("POST", _api_path(visit, "/redeliver"), account=whose(visit))
    except Refused as refused:
        return await _page(visit, "delivery.html", refused)
    return visit.go_to(f"/webhooks/deliveries/{sent['id']}", account=whose(visit))


async def _page(visit: Visit, template: str, refused: Refused | None = None) -> Response:
    return visit.page(
        template,
        status=refused.status if refused else 200,
        problem=corrigible(refused) if refused else None,
        message=await visit.get(_api_path(visit), account=whose(visit)),
        account=whose(visit),
    )


def _api_path(visit: Visit, below: str = "") -> str:
    return f"/v1/webhooks/deliveries/{segment(visit, 'delivery_id')}{below}"
