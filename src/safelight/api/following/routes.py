"""What has happened: of one job as a stream or as a page, of everything as a feed to read on from."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Reads, acting_for, reach_of, require_still, still_calls
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.accept import prefers
from safelight.api.edge.faults import refused
from safelight.api.edge.openapi import Responses, documented, problems
from safelight.api.edge.problems import RequestFault
from safelight.api.following.feed import EventReader, FeedWatch, LogEnd
from safelight.api.following.stream import EventStream, Streams
from safelight.api.following.waiting import JobWatch
from safelight.api.jobs.view import JobReader
from safelight.delivery.frames import frame
from safelight.delivery.links import Links
from safelight.domain.access import Caller
from safelight.domain.lifecycle import TERMINAL_JOB_STATUSES

_DEFAULT_LIMIT = 100
_SEQ = re.compile(r"[0-9]{1,18}")
_LONGEST_WAIT_SECONDS = 15.0
"""After so long who waits for a feed is looked at again, and it is, come what may."""
_RESET_REASONS = {
    "invalid": "Last-Event-ID is not the id of an event.",
    "unknown": "The job has no event with that id.",
    "expired": "Events after that one are not kept any more.",
}


def event_routes(deps: ApiDependencies, streams: Streams, watch: JobWatch, jobs: JobReader, links: Links) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["events"])
    events = EventReader(deps, links)
    feeds = FeedWatch(deps, streams.hub)

    async def from_snapshot(request: Request, caller: Caller, job_id: str, head: bytes = b"") -> EventStream:
        streams.require_room()
        job = await jobs.job(job_id, account=reach_of(caller))
        head += frame("snapshot", job.model_dump_json(exclude_unset=True).encode(), event_id=job.seq)
        end = LogEnd(job_id=job_id, seq=job.seq, has_ended=job.status in TERMINAL_JOB_STATUSES)
        return streams.stream(end, head=head, after=job.seq, may_go_on=partial(still_calls, request))

    @router.get(
        "/jobs/{job_id}/events",
        responses=_STREAM_OR_PAGE | problems(404, 422, 429),
        openapi_extra={"parameters": [_LAST_EVENT_ID_PARAMETER]},
    )
    async def job_events(
        request: Request, caller: Reads, job_id: str, query: Annotated[schemas.EventsQuery, Query()]
    ) -> Response:
        """The job's log as it grows: a stream that ends when the job does, or a page of it, for a caller who accepts
        `application/json`. `seq` has no gap.

        A stream goes on after `Last-Event-ID`, or `after`, with every later event once and in order; without either it
        begins with the job as it is. `id:` is the event's seq. When it cannot go on there, it says so (`reset`) and
        begins anew. 204: the job has ended, and all of it was told.
        """
        if prefers(request, "application/json", to="text/event-stream"):
            limit = query.limit or _DEFAULT_LIMIT
            return _answer(await events.of_job(job_id, account=reach_of(caller), after=query.after or 0, limit=limit))
        if query.limit is not None:
            raise refused([RequestFault("limit", "A stream has none; ask for `application/json`.", in_query=True)])
        log = await events.log_end(job_id, account=reach_of(caller))
        seen = _last_event_id(request)
        after = query.after if seen is None else seen
        if after is None:
            return await from_snapshot(request, caller, job_id)
        why = "invalid" if isinstance(after, str) else log.why_not_after(after)
        if why is not None:
            reason = orjson.dumps({"reason": why, "detail": _RESET_REASONS[why]})
            return await from_snapshot(request, caller, job_id, frame("reset", reason))
        assert isinstance(after, int)
        if log.has_ended and after == log.seq:
            return Response(status_code=204, headers={"Cache-Control": "no-store"})
        return streams.stream(log, after=after, may_go_on=partial(still_calls, request))

    @router.get(
        "/events",
        responses=documented(200, schemas.FeedPage, "A page.", headers=_FEED_HEADERS) | problems(400, 422),
    )
    async def list_events(request: Request, caller: Reads, query: Annotated[schemas.FeedQuery, Query()]) -> Response:
        """Every event of the account, and notices that concern everybody, in one order that skips none, however many
        jobs run at once; within a job in the order of `seq`. For catching up after an outage of yours.

        When too many wait already, the answer comes at once, with `Retry-After`.
        """
        account = acting_for(caller, query.account)
        clock = asyncio.get_running_loop().time
        ends_at = clock() + query.wait
        while True:
            page, end = await events.of_account(account, after=query.after, limit=query.limit)
            left = ends_at - clock()
            if page.events or left <= 0:
                return _answer(page)
            more = feeds.more(account, after=end)
            if not await watch.wait_for(request, more, seconds=min(left, _LONGEST_WAIT_SECONDS)):
                return _answer(page, {"Retry-After": "2"})
            await require_still(request)

    return router


_LAST_EVENT_ID_PARAMETER: dict[str, Any] = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The `id:` of the last event that was received; counts more than `after`. EventSource sends it.",
    "schema": {"type": "string", "examples": ["17"]},
}

_FEED_HEADERS = {"Retry-After": "Too many were waiting: seconds after which to ask again."}

_STREAM_OR_PAGE: Responses = documented(200, schemas.EventPage, "The events, as `Accept` asks for them.") | {
    204: {"description": "The job has ended, and there is nothing later than what was seen."}
}
_STREAM_OR_PAGE[200]["content"]["text/event-stream"] = {
    "itemSchema": {
        "type": "object",
        "description": "One server-sent event; its `data` is an `Event`, that of `snapshot` a `Job`.",
        "required": ["event", "data"],
        "properties": {
            "id": {"type": "string", "description": "The event's seq."},
            "event": {"type": "string", "examples": ["image.completed", "snapshot", "reset"]},
            "data": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/Event"},
                        {"$ref": "#/components/schemas/Job"},
                        {"type": "object", "required": ["reason", "detail"]},
                    ]
                },
            },
        },
    }
}


def _last_event_id(request: Request) -> int | str | None:
    """As a number where it is one; None where the client has seen none."""
    sent = request.headers.getlist("last-event-id")
    if not sent or sent == [""]:
        return None
    return int(sent[0]) if len(sent) == 1 and _SEQ.fullmatch(sent[0]) else sent[0]


def _answer(content: BaseModel, headers: dict[str, str] | None = None) -> Response:
    return Response(
        content.model_dump_json(exclude_unset=True),
        200,
        {"Cache-Control": "no-store", **(headers or {})},
        "application/json",
    )
