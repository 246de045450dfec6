"""API keys: who has one, what it is good for, a new one, and one that is good no more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.forms import Filled, add_query_filter, corrigible, filled, moment_utc, segment, whose
from safelight.dashboard.inside import Refused
from safelight.dashboard.visit import PREFIX, Pages, Visit
from safelight.domain.access import DEFAULT_ACCOUNT, KeyScope

_FIELDS = ("account", "name", "expires_at")
_SOON = timedelta(days=14)
"""Chosen: time enough to make another one and bring it to where it is used."""


def key_routes(pages: Pages) -> list[Route]:
    add_query_filter(pages)
    return [
        pages.route("/keys", _show),
        pages.route("/keys/new", _ask),
        pages.route("/keys/new", _make, methods=("POST",)),
        pages.route("/keys/{key_id}/revoke", _revoke, methods=("POST",)),
    ]


async def _show(visit: Visit) -> Response:
    cursor = visit.request.query_params.get("cursor")
    found = await visit.get("/v1/keys", account=whose(visit), cursor=cursor)
    return visit.page(
        "keys.html",
        keys=[{**key, "state": _state(key)} for key in found["keys"]],
        next_cursor=found["next_cursor"],
        is_later_page=cursor is not None,
        account=whose(visit),
        done=visit.request.query_params.get("done"),
    )


async def _ask(visit: Visit) -> Response:
    values = {"account": whose(visit) or DEFAULT_ACCOUNT, "scopes": [KeyScope.READ, KeyScope.SUBMIT]}
    return await _page(visit, Filled(values=values))


async def _make(visit: Visit) -> Response:
    form = await visit.form()
    scopes = [str(each) for each in form.getlist("scopes")][: len(KeyScope)]
    values = filled(form, _FIELDS)
    body: dict[str, Any] = {"account": values["account"], "name": values["name"] or None, "scopes": scopes}
    body["expires_at"] = moment_utc(values["expires_at"])
    try:
        made = await visit.send("POST", "/v1/keys", body)
    except Refused as refused:
        return await _page(visit, Filled(values={**values, "scopes": scopes}, problem=corrigible(refused)))
    notes = [f"It belongs to the account {made['account']} and may {', '.join(made['scopes'])}."]
    if visit.caller is not None and visit.caller.key_id is None:
        notes.append("From now on this service asks everybody for a key: sign in with one to come back to these pages.")
    return visit.page(
        "secret.html", status=201, title="The new key", secret=made["key"], notes=notes, back=f"{PREFIX}/keys"
    )


async def _revoke(visit: Visit) -> Response:
    await visit.form()
    await visit.send("DELETE", f"/v1/keys/{segment(visit, 'key_id')}")
    return visit.go_to("/keys", account=whose(visit), done="revoked")


async def _page(visit: Visit, form: Filled) -> Response:
    """Only for those who may: whoever may not is told so before they have typed anything."""
    accounts = (await visit.get("/v1/accounts", limit=100))["accounts"]
    return visit.page(
        "key_new.html",
        status=form.status,
        form=form,
        accounts=[each["id"] for each in accounts],
        is_first=visit.caller is not None and visit.caller.key_id is None,
    )


def _state(key: Mapping[str, Any]) -> str:
    """By this process's own clock, which only chooses the word that is shown."""
    if key["revoked_at"] is not None:
        return "revoked"
    if key["expires_at"] is None:
        return "good"
    left = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    return "expired" if left <= timedelta() else "expiring" if left < _SOON else "good"
