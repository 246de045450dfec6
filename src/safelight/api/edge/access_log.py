"""One line and one span per request: who asked for what, how it was answered, how long it took.

Neither holds a query, a header or a body.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.api.access import caller_in
from safelight.api.edge.request_id import request_id_of
from safelight.domain.keys import has_key
from safelight.tracing.context import TraceContext
from safelight.tracing.spans import Attribute, Kind, Span, span

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: one that was answered well is told at level debug, and is in no trace."""

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_OTHER_METHOD = "_OTHER"
_MOST_PATH_CHARS = 300

log = structlog.get_logger(__name__)


class AccessLog:
    """Around everything else: what it tells is what the caller was sent.

    A `traceparent` that came with the request makes its span part of the caller's trace; one that is none is ignored.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at = time.perf_counter()
        status: int | None = None

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in _METHODS else _OTHER_METHOD
        is_probe = scope["path"] in PROBES
        request = Span.none() if is_probe else span(method, kind=Kind.SERVER, parent=_context_of(scope))
        with request, structlog.contextvars.bound_contextvars(**request.log_fields):
            try:
                await self._app(scope, receive, send_noting)
            finally:
                route = _route_of(scope)
                _tell_span(request, scope, method, route, status)
                say = log.debug if is_probe and status == 200 else log.info
                say("request", **_line(scope, method, route, status, time.perf_counter() - began_at))


def _line(scope: Scope, method: str, route: str | None, status: int | None, seconds: float) -> dict[str, Any]:
    """`status` is None when the client had gone before it was answered."""
    caller = caller_in(scope)
    return {
        "request_id": request_id_of(scope),
        "method": method,
        "path": _path_of(scope),
        "route": route,
        "status": status,
        "duration_ms": round(seconds * 1000, 1),
        "key_id": caller.key_id if caller is not None else None,
    }


def _tell_span(request: Span, scope: Scope, method: str, route: str | None, status: int | None) -> None:
    if route is not None:
        request.rename(f"{method} {route}")
    request.note(
        {
            Attribute.METHOD: method,
            Attribute.ROUTE: route,
            Attribute.HTTP_STATUS: status,
            Attribute.REQUEST_ID: request_id_of(scope),
        }
    )
    if status is not None and status >= 500:
        request.fail(str(status))


def _context_of(scope: Scope) -> TraceContext | None:
    sent: dict[bytes, list[str]] = {b"traceparent": [], b"tracestate": []}
    for name, value in scope["headers"]:
        if name in sent:
            sent[name].append(value.decode("latin-1"))
    return TraceContext.of_headers(sent[b"traceparent"], sent[b"tracestate"])


def _route_of(scope: Scope) -> str | None:
    """The template of the route that answered, such as `/v1/jobs/{job_id}`; None when there was none."""
    template: str | None = getattr(scope.get("route"), "path_format", None)
    return template


def _path_of(scope: Scope) -> str:
    """As it was sent, so that nothing in it can break a line; without what should not have stood there."""
    path = scope["raw_path"].decode("ascii", "replace").partition("?")[0]
    return "[it held a key]" if has_key(scope["path"]) else path[:_MOST_PATH_CHARS]
