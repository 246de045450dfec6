"""Events as `text/event-stream` has them (HTML, server-sent events)."""

from __future__ import annotations

import orjson

from safelight.delivery.envelope import Event, envelope
from safelight.delivery.links import Links

KEEP_ALIVE = b": keep-alive\n\n"


def frame(event: str, data: bytes, *, event_id: int | None = None) -> bytes:
    """One event of the stream; `data` is JSON without line feeds. A client that comes back names the latest id."""
    known_by = b"id: %d\n" % event_id if event_id is not None else b""
    return b"%sevent: %s\ndata: %s\n\n" % (known_by, event.encode("ascii"), data)


def event_frame(event: Event, links: Links) -> bytes:
    return frame(event.type, orjson.dumps(envelope(event, links)), event_id=event.seq)


def retry_frame(milliseconds: int) -> bytes:
    """How long a client waits before it comes back."""
    return b"retry: %d\n\n" % milliseconds
