"""Webhooks: who is told of what, under which secret, and whether they have taken it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.datastructures import FormData
from starlette.responses import Response
from starlette.routing import Route

from safelight.api.schemas.webhooks import ALL_EVENTS
from safelight.dashboard.deliveries import delivery_routes
from safelight.dashboard.forms import (
    Filled,
    accounts_offered,
    add_query_filter,
    corrigible,
    filled,
    query_of,
    segment,
    whose,
)
from safelight.dashboard.inside import Refused
from safelight.dashboard.visit import PREFIX, Pages, Visit
from safelight.dashboard.words import moment

_FIELDS = ("url", "description", "retry_seconds")
_OVERLAPS_SECONDS = {"none": 0, "hour": 3600, "day": 86_400, "week": 7 * 86_400}
_DEFAULT = "default"
"""What the API calls the secret for addresses that jobs name."""
_MOST_DELIVERIES = 10


def webhook_routes(pages: Pages) -> list[Route]:
    add_query_filter(pages)
    return [
        pages.route("/webhooks", _show_all),
        pages.route("/webhooks/new", _ask),
        pages.route("/webhooks/new", _make, methods=("POST",)),
        *delivery_routes(pages),
        pages.route("/webhooks/default/rotate", _rotate_default, methods=("POST",)),
        pages.route("/webhooks/{webhook_id}", _show_one),
        pages.route("/webhooks/{webhook_id}/change", _ask_change),
        pages.route("/webhooks/{webhook_id}/change", _change, methods=("POST",)),
        pages.route("/webhooks/{webhook_id}/enable", _enable, methods=("POST",)),
        pages.route("/webhooks/{webhook_id}/test", _test, methods=("POST",)),
        pages.route("/webhooks/{webhook_id}/rotate", _rotate, methods=("POST",)),
        pages.route("/webhooks/{webhook_id}/delete", _delete, methods=("POST",)),
    ]


async def _show_all(visit: Visit) -> Response:
    found = await visit.get("/v1/webhooks", account=whose(visit))
    return visit.page(
        "webhooks.html",
        webhooks=found["webhooks"],
        account=whose(visit),
        accounts=await accounts_offered(visit),
        done=visit.request.query_params.get("done"),
    )


async def _ask(visit: Visit) -> Response:
    return _form_page(visit, Filled(values={"events": []}))


async def _make(visit: Visit) -> Response:
    values = _typed(await visit.form())
    try:
        made = await visit.send("POST", "/v1/webhooks", _body(values), account=whose(visit))
    except Refused as refused:
        return _form_page(visit, Filled(values=values, problem=corrigible(refused)))
    notes = ["Messages are signed with it: give it to whoever receives them, to tell them from forged ones."]
    back = _address(visit, f"/{made['id']}")
    return _secret_page(visit, "The webhook’s secret", made["secret"], notes, back, status=201)


async def _show_one(visit: Visit) -> Response:
    return await _page(visit)


async def _ask_change(visit: Visit) -> Response:
    hook = await visit.get(_api_path(visit), account=whose(visit))
    pauses = ", ".join(f"{each:g}" for each in hook["retry_seconds"] or ())
    values = {"url": hook["url"], "description": hook["description"] or "", "retry_seconds": pauses}
    return _form_page(visit, Filled(values={**values, "events": hook["events"] or []}), webhook_id=hook["id"])


async def _change(visit: Visit) -> Response:
    values = _typed(await visit.form())
    try:
        hook = await visit.send("PATCH", _api_path(visit), _body(values), account=whose(visit))
    except Refused as refused:
        webhook_id = visit.request.path_params["webhook_id"]
        return _form_page(visit, Filled(values=values, problem=corrigible(refused)), webhook_id=webhook_id)
    return visit.go_to(f"/webhooks/{hook['id']}", account=whose(visit), done="changed")


async def _enable(visit: Visit) -> Response:
    await visit.form()
    hook = await visit.send("PATCH", _api_path(visit), {"enabled": True}, account=whose(visit))
    return visit.go_to(f"/webhooks/{hook['id']}", account=whose(visit), done="enabled")


async def _test(visit: Visit) -> Response:
    """What comes of it stands on the page of the message."""
    await visit.form()
    try:
        sent = await visit.send("POST", _api_path(visit, "/test"), account=whose(visit))
    except Refused as refused:
        return await _page(visit, refused)
    return visit.go_to(f"/webhooks/deliveries/{sent['id']}", account=whose(visit))


async def _rotate(visit: Visit) -> Response:
    overlap = _OVERLAPS_SECONDS.get(str((await visit.form()).get("overlap", "")), _OVERLAPS_SECONDS["day"])
    try:
        turned = await visit.send(
            "POST", _api_path(visit, "/rotate-secret"), {"overlap_seconds": overlap}, account=whose(visit)
        )
    except Refused as refused:
        return await _page(visit, refused)
    until = turned["previous_expires_at"] if overlap else None
    notes = [
        f"The one before it signs beside it until {moment(until)}." if until else "The one before it signs no more."
    ]
    back = _address(visit, f"/{segment(visit, 'webhook_id')}")
    return _secret_page(visit, "The webhook’s new secret", turned["secret"], notes, back)


async def _rotate_default(visit: Visit) -> Response:
    await visit.form()
    turned = await visit.send("POST", f"/v1/webhooks/{_DEFAULT}/rotate-secret", account=whose(visit))
    notes = ["Messages to addresses that jobs name are signed with it. One before it signs beside it for a day."]
    title = "The secret for addresses that jobs name"
    return _secret_page(visit, title, turned["secret"], notes, _address(visit))


async def _delete(visit: Visit) -> Response:
    await visit.form()
    await visit.send("DELETE", _api_path(visit), account=whose(visit))
    return visit.go_to("/webhooks", account=whose(visit), done="deleted")


async def _page(visit: Visit, refused: Refused | None = None) -> Response:
    hook = await visit.get(_api_path(visit), account=whose(visit))
    found = await visit.get(
        "/v1/webhooks/deliveries", webhook_id=hook["id"], account=whose(visit), limit=_MOST_DELIVERIES
    )
    return visit.page(
        "webhook.html",
        status=refused.status if refused else 200,
        problem=corrigible(refused) if refused else None,
        hook=hook,
        deliveries=found["deliveries"],
        has_more=found["next_cursor"] is not None,
        account=whose(visit),
        done=visit.request.query_params.get("done"),
    )


def _form_page(visit: Visit, form: Filled, *, webhook_id: str | None = None) -> Response:
    if not visit.may("submit"):
        raise Refused(403, {"title": "Your key may read and nothing else"})
    return visit.page(
        "webhook_form.html",
        status=form.status,
        form=form,
        webhook_id=webhook_id,
        account=whose(visit),
        events=[(each, each) for each in ALL_EVENTS],
    )


def _secret_page(
    visit: Visit, title: str, secret: str, notes: Sequence[str], back: str, *, status: int = 200
) -> Response:
    return visit.page("secret.html", status=status, title=title, secret=secret, notes=notes, back=back)


def _address(visit: Visit, below: str = "") -> str:
    return f"{PREFIX}/webhooks{below}{query_of({'account': whose(visit)})}"


def _typed(form: FormData) -> dict[str, Any]:
    events = [str(each)[:100] for each in form.getlist("events")]
    return {**filled(form, _FIELDS), "events": events[: len(ALL_EVENTS)]}


def _body(values: dict[str, Any]) -> dict[str, Any]:
    pauses = [_number(each) for each in values["retry_seconds"].replace(",", " ").split()]
    return {
        "url": values["url"],
        "description": values["description"] or None,
        "events": values["events"] or None,
        "retry_seconds": pauses or None,
    }


def _number(text: str) -> float | str:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if abs(number) < 1e12 else text


def _api_path(visit: Visit, below: str = "") -> str:
    return f"/v1/webhooks/{segment(visit, 'webhook_id')}{below}"
