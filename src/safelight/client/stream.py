"""A job's events as one sequence, however many connections that takes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2

from safelight.client.errors import ApiProblem, NoStream, Unreachable
from safelight.client.sse import EventParser, ServerSentEvent
from safelight.client.transport import Transport
from safelight.client.views import Event, event_view
from safelight.domain.events import JOB_ENDS
from safelight.domain.lifecycle import TERMINAL_JOB_STATUSES

SNAPSHOT, RESET = "snapshot", "reset"
"""What a stream says of itself: the job as it stands, and that it cannot go on from where it was left."""

_COME_BACK_SECONDS, _LONGEST_COME_BACK_SECONDS = 1.0, 30.0
_MEDIA_TYPE = "text/event-stream"


async def follow_events(transport: Transport, path: str, *, after: int | None) -> AsyncIterator[Event]:
    """Every event after that one, once and in order, until the job has ended and all of it was told.

    Raises Unreachable or ApiProblem once nothing at all has come for as long as the transport is patient, NoStream for
    an answer that is none.
    """
    place = _Place(seq=after)
    patience = transport.patience()
    while True:
        parser = EventParser()
        told_before = place.told
        has_heard = False
        try:
            async with transport.stream(path, headers=place.headers) as response:
                if response.status_code == httpx2.codes.NO_CONTENT:
                    return
                _require_stream(response)
                async for chunk in response.aiter_bytes():
                    has_heard = True
                    for each in parser.feed(chunk):
                        if (event := place.take(each)) is not None:
                            yield event
            failure, pause_seconds = Unreachable(transport.base_url, "the stream ends before its job has ended"), None
        except (ApiProblem, Unreachable) as error:
            if transport.is_final(error):
                raise
            failure, pause_seconds = error, error.retry_after_seconds if isinstance(error, ApiProblem) else None
        if has_heard:
            patience.renew()
        if place.is_end and place.told > told_before:
            continue  # the service confirms that this was all, or tells what has come after it
        wished_seconds = parser.retry_seconds if pause_seconds is None else pause_seconds
        at_least_seconds = _COME_BACK_SECONDS if has_heard and wished_seconds is None else wished_seconds or 0.0
        await patience.wait_after(failure, at_least_seconds=min(at_least_seconds, _LONGEST_COME_BACK_SECONDS))


@dataclass(slots=True, kw_only=True)
class _Place:
    """How far it has been told: `seq` of the latest event, and whether that ended a run. `told` counts them."""

    seq: int | None
    is_end: bool = False
    told: int = 0

    @property
    def headers(self) -> dict[str, str]:
        # Whoever packs a stream up on the way tends to hold it back.
        headers = {"accept": _MEDIA_TYPE, "accept-encoding": "identity", "cache-control": "no-store"}
        return headers if self.seq is None else headers | {"last-event-id": str(self.seq)}

    def take(self, told: ServerSentEvent) -> Event | None:
        """What it tells; None when that was told before. Raises NoStream."""
        try:
            event = _event(told, json.loads(told.data))
        except (ValueError, KeyError, TypeError) as error:
            raise NoStream(f"`{told.type}` on the stream is no event of ours") from error
        if event.type == RESET:
            self.seq = None
        elif event.seq is not None:
            if event.type != SNAPSHOT and self.seq is not None and event.seq <= self.seq:
                return None
            self.seq = event.seq
            self.is_end = _ends(event)
            self.told += 1
        return event


def _event(told: ServerSentEvent, document: dict[str, Any]) -> Event:
    seq = int(told.id) if told.id else None
    if told.type in (SNAPSHOT, RESET):
        return Event(type=told.type, data=document, seq=seq)
    seen = event_view(document)
    return Event(type=seen.type, timestamp=seen.timestamp, data=seen.data, seq=seq)


def _ends(event: Event) -> bool:
    if event.type == SNAPSHOT:
        return event.data["status"] in TERMINAL_JOB_STATUSES
    return event.type in JOB_ENDS


def _require_stream(response: httpx2.Response) -> None:
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != _MEDIA_TYPE:
        raise NoStream(f"{response.url} answers with {media_type or 'no type at all'}, not with a stream")
