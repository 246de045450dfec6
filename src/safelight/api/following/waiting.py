"""Waiting for a job: whoever waits follows its events, as a stream does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request

from safelight.delivery.hub import EventHub, Following
from safelight.metrics import requests_waiting

MAX_WAIT_SECONDS = 60

_PREFERENCE = re.compile(r'\s*wait\s*=\s*(?:"([0-9]{1,9})"|([0-9]{1,9}))\s*(?:;.*)?', re.IGNORECASE)


class JobWatch:
    """Holds requests back until there is something to say, `most` of them at a time."""

    def __init__(self, hub: EventHub, *, most: int) -> None:
        self._hub = hub
        self._most = most
        self._count = 0

    async def wait(self, request: Request, job_id: str, *, seq: int, seconds: float, after: int | None = None) -> bool:
        """Returns when the job, seen at `seq` and not ended, has ended, has an event later than `after`, or the time is
        over. False, at once, when too many wait already, when the caller goes, and when the service stops.

        A database that does not answer only makes it wait longer. The request's body must have been read, or be empty.
        """
        with self._hub.follow(job_id, after=seq) as following:
            return await self._hold(request, _moved(following, after), seconds)

    async def wait_for(self, request: Request, something: Coroutine[Any, Any, None], *, seconds: float) -> bool:
        """The same, for something else that happens: it returns then, and when the service stops."""
        return await self._hold(request, something, seconds)

    async def _hold(self, request: Request, something: Coroutine[Any, Any, None], seconds: float) -> bool:
        if self._count >= self._most or self._hub.is_closing:
            something.close()
            return False
        self._count += 1
        requests_waiting.inc()
        happening, leaving = (asyncio.create_task(each) for each in (something, _gone(request)))
        try:
            done, _ = await asyncio.wait((happening, leaving), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if happening in done:
                happening.result()
        finally:
            happening.cancel()
            leaving.cancel()
            self._count -= 1
            requests_waiting.dec()
        return leaving not in done


def preferred_wait(request: Request) -> int | None:
    """The seconds that `Prefer: wait=…` asks for, at most 60; None where it asks for none.

    As RFC 7240 has it: the first one counts, and one that cannot be read is ignored.
    """
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        if match := _PREFERENCE.fullmatch(preference):
            return min(int(match[1] or match[2]), MAX_WAIT_SECONDS)
    return None


async def _moved(following: Following, after: int | None) -> None:
    while news := await following.next():
        for each in news:
            if each.ends_run or (after is not None and each.seq is not None and each.seq > after):
                return


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
