"""What a message says when it is sent: made anew for each attempt, so that its links are fresh."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import orjson

from safelight.delivery.envelope import Event, envelope
from safelight.delivery.links import Links
from safelight.delivery.pulse import progress_envelope

TEST = "webhook.test"
MAX_BODY_BYTES = 20_000

_ABOUT = ("job_id", "seq", "job_url", "image_id", "image_url")


def event_body(event: Event, links: Links) -> bytes:
    """As it is shown everywhere. One that is too long for a webhook keeps its ids and links, and says so."""
    shown = envelope(event, links)
    body = orjson.dumps(shown)
    if len(body) < MAX_BODY_BYTES:
        return body
    data = {name: shown["data"][name] for name in _ABOUT if name in shown["data"]}
    return orjson.dumps({**shown, "data": {**data, "is_shortened": True}})


def notice_body(event_type: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    body = orjson.dumps({"type": event_type, "timestamp": at.isoformat(), "data": data})
    if len(body) < MAX_BODY_BYTES:
        return body
    return orjson.dumps({"type": event_type, "timestamp": at.isoformat(), "data": {"is_shortened": True}})


def trial_body(endpoint_id: str, at: datetime) -> bytes:
    return orjson.dumps({"type": TEST, "timestamp": at.isoformat(), "data": {"webhook_id": endpoint_id}})


def progress_body(job_id: str, rows: Collection[Mapping[str, Any]], links: Links) -> bytes:
    """How far the job is now, from rows of `progress_of_jobs`."""
    shown = progress_envelope(job_id, rows)
    return orjson.dumps({**shown, "data": {**shown["data"], "job_url": links.job(job_id)}})
