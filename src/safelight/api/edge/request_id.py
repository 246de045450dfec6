"""One id per request, in every answer and in the log; and the last net under a handler that fails."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import compat

_KEY = "safelight.request_id"

log = structlog.get_logger(__name__)


def request_id_of(scope: Scope) -> str:
    return scope.get(_KEY, "")


class RequestIds:
    """Gives each request an id, as `X-Request-Id` and in the log's context.

    What a handler did not expect is logged by its type and its place in the code, without its message, which
    may quote a prompt; the caller gets `failed`'s answer if none has begun, and `cut_off`'s when the server ends the
    request before its time.
    """

    def __init__(
        self, app: ASGIApp, *, failed: Callable[[Request], Response], cut_off: Callable[[Request], Response]
    ) -> None:
        self._app = app
        self._failed = failed
        self._cut_off = cut_off

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope[_KEY] = f"req_{compat.uuid7().hex}"
        has_begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except asyncio.CancelledError:
                if has_begun:
                    raise
                await self._cut_off(Request(scope))(scope, receive, send_with_id)
            except Exception as error:  # the edge of the service: nothing above it could answer
                frames = traceback.extract_tb(error.__traceback__)
                places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
                log.error("request failed", error=type(error).__qualname__, places=places)
                if has_begun:
                    raise ConnectionAbortedError("the answer broke off; the log says why") from None
                await self._failed(Request(scope))(scope, receive, send_with_id)
