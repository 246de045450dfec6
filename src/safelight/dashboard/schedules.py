"""Schedules: which jobs are made whenever their time comes, when that is next, and how it went before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.forms import (
    accounts_offered,
    add_query_filter,
    corrigible,
    new_key,
    once,
    once_more,
    segment,
    whose,
)
from safelight.dashboard.inside import Refused
from safelight.dashboard.pasted import NotRead, place_of, read_case
from safelight.dashboard.visit import Pages, Visit

_MOST_RUNS = 20
_MOST_SCHEDULES = 50
_SWITCHES = {"enable": True, "disable": False}
_EXAMPLE = """\
name = "daily-case"
cron = "0 18 * * *"
timezone = "Europe/Berlin"
unique_per = "day"
ready_by = "00:00"

[job]
storage_prefix = "cases/{date}"
metadata = { case_id = "case-{date}" }

[[job.images]]
id = "evidence-1"
prompt = "A brass key, bent and oily"
"""


def schedule_routes(pages: Pages) -> list[Route]:
    add_query_filter(pages)
    return [
        pages.route("/schedules", _show_all),
        pages.route("/schedules/new", _ask),
        pages.route("/schedules/new", _make, methods=("POST",)),
        pages.route("/schedules/{schedule_id}", _show_one),
        pages.route("/schedules/{schedule_id}/run", _run, methods=("POST",)),
        *(pages.route(f"/schedules/{{schedule_id}}/{each}", _switch, methods=("POST",)) for each in _SWITCHES),
        pages.route("/schedules/{schedule_id}/delete", _delete, methods=("POST",)),
    ]


async def _show_all(visit: Visit) -> Response:
    cursor = visit.request.query_params.get("cursor")
    found = await visit.get("/v1/schedules", account=whose(visit), cursor=cursor, limit=_MOST_SCHEDULES)
    return visit.page(
        "schedules.html",
        schedules=found["schedules"],
        next_cursor=found["next_cursor"],
        is_later_page=cursor is not None,
        account=whose(visit),
        accounts=await accounts_offered(visit),
        done=visit.request.query_params.get("done"),
    )


async def _ask(visit: Visit) -> Response:
    return _form_page(visit, _EXAMPLE)


async def _make(visit: Visit) -> Response:
    form = await visit.form()
    text = str(form.get("text", ""))
    try:
        body = await read_case(text)
    except NotRead as why:
        return _form_page(visit, text, status=422, problem={"title": "This cannot be read", "detail": str(why)})
    try:
        made = await visit.send("POST", "/v1/schedules", body, account=whose(visit))
    except Refused as refused:
        problem = corrigible(refused)
        faults = [
            {"place": place_of(each.get("pointer") or "", body), "detail": each["detail"]}
            for each in problem.get("errors") or ()
        ]
        return _form_page(visit, text, status=refused.status, problem={**problem, "errors": []}, faults=faults)
    return visit.go_to(f"/schedules/{made['id']}", account=whose(visit), done="made")


async def _show_one(visit: Visit) -> Response:
    return await _page(visit)


async def _run(visit: Visit) -> Response:
    """Once, however often the form is sent."""
    key = once(await visit.form())
    try:
        await visit.ask(
            "POST", _api_path(visit, "/run"), query={"account": whose(visit)}, headers={"Idempotency-Key": key}
        )
    except Refused as refused:
        return await _page(visit, refused=refused, key=once_more(key, refused))
    return visit.go_to(f"/schedules/{segment(visit, 'schedule_id')}", account=whose(visit), done="run")


async def _switch(visit: Visit) -> Response:
    await visit.form()
    word = visit.request.url.path.rsplit("/", 1)[1]
    await visit.send("PATCH", _api_path(visit), {"enabled": _SWITCHES[word]}, account=whose(visit))
    return visit.go_to(f"/schedules/{segment(visit, 'schedule_id')}", account=whose(visit), done=word)


async def _delete(visit: Visit) -> Response:
    await visit.form()
    await visit.send("DELETE", _api_path(visit), account=whose(visit))
    return visit.go_to("/schedules", account=whose(visit), done="deleted")


async def _page(visit: Visit, *, refused: Refused | None = None, key: str | None = None) -> Response:
    schedule = await visit.get(_api_path(visit), account=whose(visit))
    cursor = visit.request.query_params.get("cursor")
    runs = await visit.get(_api_path(visit, "/runs"), account=whose(visit), cursor=cursor, limit=_MOST_RUNS)
    return visit.page(
        "schedule.html",
        status=refused.status if refused else 200,
        problem=corrigible(refused) if refused else None,
        schedule=schedule,
        job_text=json.dumps(schedule["job"], indent=2, ensure_ascii=False),
        runs=runs["runs"],
        next_cursor=runs["next_cursor"],
        is_later_page=cursor is not None,
        account=whose(visit),
        key=key or new_key(),
        done=visit.request.query_params.get("done"),
    )


def _form_page(
    visit: Visit,
    text: str,
    *,
    status: int = 200,
    problem: Mapping[str, Any] | None = None,
    faults: list[dict[str, Any]] | None = None,
) -> Response:
    if not visit.may("submit"):
        raise Refused(403, {"title": "Your key may read and nothing else"})
    return visit.page(
        "schedule_new.html", status=status, text=text, problem=problem, faults=faults or [], account=whose(visit)
    )


def _api_path(visit: Visit, below: str = "") -> str:
    return f"/v1/schedules/{segment(visit, 'schedule_id')}{below}"
