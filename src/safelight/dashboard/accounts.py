"""Accounts: what they have, what is held of it, what they may spend, and every entry in their books."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.forms import (
    Filled,
    add_query_filter,
    corrigible,
    filled,
    new_key,
    once,
    once_more,
    segment,
    whole,
)
from safelight.dashboard.inside import Refused
from safelight.dashboard.visit import Pages, Visit
from safelight.domain.access import ACCOUNT

_CREDIT_FIELDS = ("kind", "amount", "reason")
_LIMIT_FIELDS = ("billing", "weight", "max_concurrency", "max_queued")
_EMPTY = Filled()
_NOT_A_NAME = {
    "title": "This cannot be an account's name",
    "errors": [
        {
            "pointer": "/account",
            "detail": "Up to 64 letters, digits, dots, `_` and `-`; the first one is a letter or a digit.",
        }
    ],
}


def account_routes(pages: Pages) -> list[Route]:
    add_query_filter(pages)
    return [
        pages.route("/accounts", _show_all),
        pages.route("/accounts", _name, methods=("POST",)),
        pages.route("/accounts/{account_id}", _show_one),
        pages.route("/accounts/{account_id}/credits", _pay_in, methods=("POST",)),
        pages.route("/accounts/{account_id}/budget", _set_budget, methods=("POST",)),
        pages.route("/accounts/{account_id}/limits", _set_limits, methods=("POST",)),
    ]


async def _show_all(visit: Visit) -> Response:
    """To an admin; others have one account, and are shown it."""
    if visit.caller is not None and not visit.may("admin"):
        return visit.go_to(f"/accounts/{visit.caller.account}")
    return await _list(visit)


async def _name(visit: Visit) -> Response:
    """An account exists from the moment in which an admin names it."""
    form = await visit.form()
    account = str(form.get("account", "")).strip()
    try:
        if not ACCOUNT.fullmatch(account):
            raise Refused(422, _NOT_A_NAME)
        await visit.send("PATCH", f"/v1/accounts/{account}", {})
    except Refused as refused:
        if refused.status not in (404, 422):
            raise
        return await _list(visit, Filled(values={"account": account}, problem=_NOT_A_NAME))
    return visit.go_to(f"/accounts/{account}")


async def _list(visit: Visit, form: Filled = _EMPTY) -> Response:
    cursor = visit.request.query_params.get("cursor")
    found = await visit.get("/v1/accounts", cursor=cursor, limit=50)
    return visit.page(
        "accounts.html",
        status=form.status,
        accounts=found["accounts"],
        next_cursor=found["next_cursor"],
        is_later_page=cursor is not None,
        form=form,
    )


async def _show_one(visit: Visit) -> Response:
    return await _page(visit)


async def _pay_in(visit: Visit) -> Response:
    """Once, however often the form is sent."""
    form = await visit.form()
    values, key = filled(form, _CREDIT_FIELDS), once(form)
    account = await visit.get(_api_path(visit))
    body: dict[str, Any] = {"kind": values["kind"], "reason": values["reason"] or None}
    if account["billing"] == "usd":
        body["usd"] = values["amount"] or None
    else:
        body["credits"] = whole(values["amount"])
    try:
        await visit.ask("POST", _api_path(visit, "/credits"), body=body, headers={"Idempotency-Key": key})
    except Refused as refused:
        problem = _at_the_amount(corrigible(refused))
        return await _page(visit, credit=Filled(values=values, problem=problem), key=once_more(key, refused))
    return _done(visit, "credits")


async def _set_budget(visit: Visit) -> Response:
    values = filled(await visit.form(), ("daily_usd",))
    try:
        await visit.send("PUT", _api_path(visit, "/budget"), {"daily_usd": values["daily_usd"] or None})
    except Refused as refused:
        return await _page(visit, budget=Filled(values=values, problem=corrigible(refused)))
    return _done(visit, "budget")


async def _set_limits(visit: Visit) -> Response:
    values = filled(await visit.form(), _LIMIT_FIELDS)
    body = {"billing": values["billing"], **{name: whole(values[name]) for name in _LIMIT_FIELDS[1:]}}
    try:
        await visit.send("PATCH", _api_path(visit), body)
    except Refused as refused:
        return await _page(visit, limits=Filled(values=values, problem=corrigible(refused)))
    return _done(visit, "limits")


async def _page(
    visit: Visit,
    *,
    credit: Filled | None = None,
    budget: Filled | None = None,
    limits: Filled | None = None,
    key: str | None = None,
) -> Response:
    account = await visit.get(_api_path(visit))
    asked = visit.request.query_params
    job, cursor, problem = asked.get("job", "").strip(), asked.get("cursor"), None
    ledger: Mapping[str, Any] = {"entries": [], "next_cursor": None}
    try:
        ledger = await visit.get(_api_path(visit, "/ledger"), job=job or None, cursor=cursor)
    except Refused as refused:
        problem = corrigible(refused)
    forms = [each for each in (credit, budget, limits) if each is not None]
    return visit.page(
        "account.html",
        status=forms[0].status if forms else 422 if problem else 200,
        account=account,
        ledger=ledger,
        ledger_problem=problem,
        job=job,
        is_later_page=cursor is not None,
        done=asked.get("done"),
        key=key or new_key(),
        credit=credit or Filled(values={"kind": "top_up"}),
        budget=budget or Filled(values={"daily_usd": (account["budget"] or {}).get("daily_usd", "")}),
        limits=limits or Filled(values={name: _written(account[name]) for name in _LIMIT_FIELDS}),
    )


def _at_the_amount(problem: Mapping[str, Any]) -> Mapping[str, Any]:
    """The form has one field for what the API calls `credits` or `usd`."""
    errors = [
        {**each, "pointer": "/amount"} if each.get("pointer") in ("/credits", "/usd") else each
        for each in problem.get("errors") or ()
    ]
    return {**problem, "errors": errors}


def _done(visit: Visit, what: str) -> Response:
    return visit.go_to(f"/accounts/{segment(visit, 'account_id')}", done=what)


def _written(value: int | str | None) -> str:
    return "" if value is None else str(value)


def _api_path(visit: Visit, below: str = "") -> str:
    return f"/v1/accounts/{segment(visit, 'account_id')}{below}"
