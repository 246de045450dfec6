"""What is turned away before a route looks at it: a name that is not ours, and requests while the service stops."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.api.edge.problems import problem

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
ANY_HOST = "*"

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:/?#@\[\]]+))(?::[0-9]{0,5})?", re.IGNORECASE)


class Gate:
    """Lets a request in when `Host` names one of `hosts`, on whatever port, and `closing` is not set.

    A page on the web can make a browser call this machine under a name of its own; that name is then in `Host`.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], closing: asyncio.Event) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        if ANY_HOST not in self._hosts and _host_of(request) not in self._hosts:
            detail = "This service does not answer to the name in `Host`. An operator can allow it."
            await problem(request, "bad-host", detail)(scope, receive, send)
        elif self._closing.is_set():
            await stopping(request)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def stopping(request: Request):
    """The answer to a request that comes too late, or that is cut off by the stop."""
    headers = {"Connection": "close"}
    return problem(request, "unavailable", "The service is stopping.", retry_after_seconds=2, headers=headers)


def _host_of(request: Request) -> str | None:
    sent = request.headers.getlist("host")
    match = _HOST.fullmatch(sent[0].strip()) if len(sent) == 1 else None
    return (match[1] or match[2]).lower() if match else None
