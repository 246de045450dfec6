"""How many requests there are, what is answered, and how long it takes."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.metrics import http_requests, http_seconds

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NONE = "none"


class Measured:
    """Counts every request once, when its answer has ended or it was cut off, under the template of its route: whatever
    a client puts into an address makes no new series."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = _NONE
        began_at = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = _template_of(scope)
            http_requests.labels(method, route, status).inc()
            http_seconds.labels(method, route).observe(time.perf_counter() - began_at)


def _template_of(scope: Scope) -> str:
    """Of the route that answered, such as `/v1/jobs/{job_id}`, with what it is mounted under."""
    template: str | None = getattr(scope.get("route"), "path_format", None)
    return f"{scope.get('root_path', '')}{template}" if template is not None else _NONE
