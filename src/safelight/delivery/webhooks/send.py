"""One attempt at a message, and what its receiver made of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from safelight.delivery.webhooks.signing import signed_headers
from safelight.domain.text import storable
from safelight.net.fetch import FetchFailed, FetchRefused
from safelight.net.post import Post
from safelight.providers.retry_after import from_headers
from safelight.tracing.context import TraceContext

MAX_KEPT_REPLY_BYTES = 1024
_ASKS_FOR_REST = (429, 503)
_GONE = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The receiver answered with 2xx."""

    http_status: int
    reply: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTaken:
    """It did not, or there was no answer. `is_gone`: it wants no more messages; `asked_seconds`: not before then."""

    http_status: int | None
    error: str
    reply: str | None = field(default=None, repr=False)
    asked_seconds: float | None = None
    is_gone: bool = False


async def send(
    post: Post,
    url: str,
    *,
    message_id: str,
    body: bytes,
    secrets: Sequence[str],
    timeout_seconds: float,
    trace: TraceContext | None = None,
) -> Taken | NotTaken:
    """Signed now, with every secret: whoever verifies goes by the time of the attempt. The time is this process's own,
    and not the database's, since that is what the receiver's clock is compared with. In a trace, the receiver is told
    in which."""
    headers = signed_headers(message_id, body, at_unix=int(time.time()), secrets=secrets)
    headers["content-type"] = "application/json"
    headers |= trace.headers if trace is not None else {}
    try:
        posted = await post(url, body=body, headers=headers, timeout_seconds=timeout_seconds)
    except (FetchRefused, FetchFailed) as error:
        return NotTaken(http_status=None, error=storable(str(error))[:500])
    reply = _kept(posted.reply)
    if 200 <= posted.http_status < 300:
        return Taken(http_status=posted.http_status, reply=reply)
    what = "a redirect, which is not followed" if 300 <= posted.http_status < 400 else "no 2xx"
    return NotTaken(
        http_status=posted.http_status,
        error=f"the receiver answered {posted.http_status}: {what}",
        reply=reply,
        asked_seconds=from_headers(posted.headers) if posted.http_status in _ASKS_FOR_REST else None,
        is_gone=posted.http_status == _GONE,
    )


def _kept(reply: bytes) -> str | None:
    text = storable(reply[:MAX_KEPT_REPLY_BYTES].decode("utf-8", "replace"))
    return text.encode()[:MAX_KEPT_REPLY_BYTES].decode("utf-8", "ignore") or None
