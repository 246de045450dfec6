"""A job's events on one answer that stays open: `text/event-stream`, as EventSource reads it.

Written for what a held client costs: one small task beside the request's own, and frames that the streams of a job
share.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from safelight.api.following.feed import LogEnd
from safelight.db.pool import TRANSIENT
from safelight.delivery.frames import KEEP_ALIVE, retry_frame
from safelight.delivery.hub import EventHub, Following, News
from safelight.domain.errors import Unavailable
from safelight.metrics import sse_clients

_KEEP_ALIVE_SECONDS = 15.0
_COME_BACK_MILLISECONDS = (1000, 3000)
"""Drawn for each client: they should not all come at the same moment, once a service has been started again."""
_FULL_SECONDS = 10


class Streams:
    """The streams of this process, `most` of them at a time."""

    def __init__(self, hub: EventHub, *, most: int) -> None:
        self.hub = hub
        self.open = 0
        self._most = most

    def require_room(self) -> None:
        """Raises Unavailable (`too-many-streams`)."""
        if self.open >= self._most:
            raise Unavailable(
                "This process holds as many streams as it may.",
                slug="too-many-streams",
                retry_after_seconds=_FULL_SECONDS,
            )

    def stream(
        self, end: LogEnd, *, head: bytes = b"", after: int, may_go_on: Callable[[], Awaitable[bool]]
    ) -> EventStream:
        """First `head`, then the events after `after`: up to the log's end when the job has ended, else up to the one
        that ends its present run. Before each step `may_go_on` is asked. Raises Unavailable (`too-many-streams`).
        """
        self.require_room()
        return EventStream(self, end, head=head, after=after, may_go_on=may_go_on)


class EventStream(Response):
    """Ends after its last event, once its client has gone, and when the service stops; also when events that come next
    are not kept any more, and when it may not go on: its key was revoked, say. A client that comes back with the latest
    id is told whatever has come after it."""

    media_type = "text/event-stream"

    def __init__(
        self, streams: Streams, end: LogEnd, *, head: bytes, after: int, may_go_on: Callable[[], Awaitable[bool]]
    ) -> None:
        # Not the base class's: it would announce a length.
        self.status_code = 200
        self.background = None
        self.init_headers({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._streams = streams
        self._end = end
        self._head = head
        self._after = after
        self._may_go_on = may_go_on

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        self._streams.open += 1
        sse_clients.inc()
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            head, self._head = retry_frame(random.randint(*_COME_BACK_MILLISECONDS)) + self._head, b""  # noqa: S311
            await _send(send, head)
            del head  # a snapshot may be large, and the stream is long
            if not self._end.has_ended or self._end.seq > self._after:
                with self._streams.hub.follow(self._end.job_id, after=self._after, wants_progress=True) as following:
                    watching = asyncio.create_task(_end_when_gone(receive, following))
                    try:
                        await self._pass_on(following, send)
                    finally:
                        watching.cancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._streams.open -= 1
            sse_clients.dec()

    async def _pass_on(self, following: Following, send: Send) -> None:
        while True:
            try:
                async with asyncio.timeout(_KEEP_ALIVE_SECONDS):
                    news = await following.next()
            except TimeoutError:
                if not await self._is_allowed(if_nobody_knows=True):  # it is told nothing
                    return
                await _send(send, KEEP_ALIVE)
                continue
            if not news or not await self._is_allowed(if_nobody_knows=False):
                return
            end = self._end_in(news)
            await _send(send, b"".join(each.frame for each in news[:end]))
            if end is not None:
                return

    async def _is_allowed(self, *, if_nobody_knows: bool) -> bool:
        try:
            return await self._may_go_on()
        except TRANSIENT:
            return if_nobody_knows

    def _end_in(self, news: Sequence[News]) -> int | None:
        """How many of these are to be sent, when the last event is among them."""
        for count, each in enumerate(news, 1):
            if self._end.has_ended and each.seq == self._end.seq:
                return count
            if not self._end.has_ended and each.ends_run and each.seq is not None and each.seq > self._end.seq:
                return count
        return None


async def _send(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _end_when_gone(receive: Receive, following: Following) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    following.end()
