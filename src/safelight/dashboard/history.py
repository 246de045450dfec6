"""Earlier jobs and single pictures, found again by what their caller wrote on them and by what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from starlette.responses import Response
from starlette.routing import Route

from safelight.dashboard.inside import Refused
from safelight.dashboard.live import ENDED, LIVE, everybody
from safelight.dashboard.visit import Pages, Visit
from safelight.domain.errors import ErrorKind

_MOST_JOBS = 25
_MOST_IMAGES = 48
_MOST_CHARACTERS = 600
"""Of one field, which is more than any of them takes."""
_IMAGE_STATES = (
    *("queued", "processing", "generating", "uploading"),
    *("completed", "failed", "refused", "canceled", "uncertain"),
)
_SHORT = {"live": LIVE, "ended": ENDED, "incomplete": ("partial", "failed", "canceled")}
"""Several states under one word of ours."""
_NO_KEY = {"title": "A metadata value needs its key", "detail": "Without one it would find everything."}
_OF_JOB = ("status", "account", "group", "key", "value", "from", "to")
_OF_IMAGE = (*_OF_JOB, "provider", "model", "error_kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """`fields` are the form's, as they were filled in; `query` is what the API is asked for."""

    fields: Mapping[str, str]
    query: Mapping[str, Any]

    @property
    def address(self) -> str:
        """The same once more, as a query of a page here."""
        return self.at("")

    def at(self, cursor: str) -> str:
        """The same from somewhere on."""
        named = {**self.fields, "cursor": cursor}
        return urlencode({name: value for name, value in named.items() if value})

    @property
    def table_address(self) -> str:
        """The same as a query of the API's, which sends all of it as CSV, row by row."""
        return urlencode({**self.query, "format": "csv"}, doseq=True)


def history_routes(pages: Pages) -> list[Route]:
    pages.templates.filters["picture"] = _picture
    return [pages.route("/history", _show_jobs), pages.route("/history/images", _show_images)]


async def _show_jobs(visit: Visit) -> Response:
    asked = _asked(visit, _OF_JOB)
    return await _show(visit, "jobs", asked, states=(*_SHORT, *LIVE, *ENDED), most=_MOST_JOBS)


async def _show_images(visit: Visit) -> Response:
    asked = _asked(visit, _OF_IMAGE)
    return await _show(visit, "images", asked, states=_IMAGE_STATES, most=_MOST_IMAGES)


async def _show(visit: Visit, kind: str, asked: _Asked, *, states: Sequence[str], most: int) -> Response:
    """What the API says of a filter that it does not understand stands above the form, which stays as it was."""
    status, problem, found, following = 200, None, [], None
    cursor = visit.request.query_params.get("cursor")
    try:
        if asked.fields["value"] and not asked.fields["key"]:
            raise Refused(422, _NO_KEY)
        page = await visit.get(f"/v1/{kind}", **asked.query, limit=most, cursor=cursor)
        found, following = page[kind], page["next_cursor"]
    except Refused as refused:
        if refused.status not in (400, 404, 422):
            raise
        status, problem = refused.status, refused.problem
    return visit.page(
        f"history_{kind}.html",
        status=status,
        problem=problem,
        kind=kind,
        rows=found,
        asked=asked,
        states=states,
        error_kinds=[each.value for each in ErrorKind],
        is_later_page=cursor is not None,
        next_page=asked.at(following) if following else None,
    )


def _asked(visit: Visit, names: Sequence[str]) -> _Asked:
    given = visit.request.query_params
    fields = {name: given.get(name, "").strip()[:_MOST_CHARACTERS] for name in names}
    query: dict[str, Any] = {"account": fields["account"] or everybody(visit)}
    if fields["status"]:
        query["status"] = _SHORT.get(fields["status"], (fields["status"],))
    for name in ("group", "provider", "model", "error_kind"):
        query[name] = fields.get(name) or None
    query["created_after"], query["created_before"] = _moment(fields["from"]), _moment(fields["to"])
    if fields["key"]:
        query[f"metadata.{fields['key']}"] = fields["value"]
    return _Asked(fields=fields, query={name: value for name, value in query.items() if value is not None})


def _moment(text: str) -> str | None:
    """What a browser's field for a time gives, which says nothing of an offset: it is read as UTC. Anything else goes
    on to the API as it is, which says what is wrong with it."""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%dT%H:%M:%S}Z" if len(text) in (10, 16, 19) else text or None
    except ValueError:
        return text


def _picture(image: Mapping[str, Any]) -> str:
    """Its plain address, which whoever is signed in may open, and which stays the same for their browser to keep."""
    return f"/v1/jobs/{image['job_id']}/images/{quote(image['id'], safe='')}"
