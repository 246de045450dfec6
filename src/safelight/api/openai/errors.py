"""What OpenAI's clients are told when something is wrong, in the form that they raise their own exceptions by.

    {"error": {"message": …, "type": …, "param": …, "code": …}}

Whatever refuses a request under `/openai`, be it a route, the framework, or what stands before both, says so as a
problem; on its way out it is put into this form. `X-Should-Retry` says whether sending it again may help: the official
clients go by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safelight.api.edge.problems import MEDIA_TYPE

ROOM = "/openai"

_PROBLEM = "/problems/"
_FAULTS_TOLD = 5
_STATUS = {402: 429, 422: 400}
"""Where OpenAI has another one for the same: no balance, and everything that is wrong with a request."""
_CODES: Mapping[str, str] = {
    "unauthenticated": "invalid_api_key",
    "insufficient-scope": "insufficient_permissions",
    "not-found": "unknown_url",
    "unknown-model": "model_not_found",
    "no-provider": "model_not_found",
    "validation-error": "invalid_value",
    "unknown-field": "unknown_parameter",
    "unsupported-option": "unsupported_parameter",
    "unsupported-size": "invalid_size",
    "unsupported-format": "invalid_value",
    "prompt-too-long": "string_above_max_length",
    "rate-limited": "rate_limit_exceeded",
    "internal-error": "server_error",
    "unsupported-image": "invalid_image_file",
    "corrupt-image": "invalid_image_file",
}
"""By the kind of problem; every other keeps its own name, with underscores."""
_NO_PICTURE = frozenset({"unsupported-image", "corrupt-image"})
_MODEL_MISSING = frozenset({"unknown-model", "no-provider"})


class ErrorForm:
    """Puts every problem that leaves for a client of `/openai` into OpenAI's form. To be the outermost."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_in_room(scope["path"]):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = bytearray()

        async def send_in_form(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and _is_problem(message):
                start = message
            elif start is None:
                await send(message)
            else:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    await _translated(start, bytes(body))(scope, receive, send)

        await self._app(scope, receive, send_in_form)


def is_in_room(path: str) -> bool:
    return path == ROOM or path.startswith(f"{ROOM}/")


def error_answer(
    status: int,
    code: str,
    message: str,
    *,
    kind: str = "invalid_request_error",
    param: str | None = None,
    may_repeat: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    error = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    more = {"Cache-Control": "no-store", "X-Should-Retry": "true" if may_repeat else "false", **(headers or {})}
    return Response(orjson.dumps(error), status, more, "application/json")


def _is_problem(message: Message) -> bool:
    headers = MutableHeaders(raw=list(message["headers"]))
    return headers.get("content-type", "").startswith(MEDIA_TYPE)


def _translated(start: Message, body: bytes) -> Response:
    headers = MutableHeaders(raw=list(start["headers"]))
    for name in ("content-type", "content-length", "cache-control"):
        del headers[name]
    problem: dict[str, Any] = orjson.loads(body) if body else {"status": start["status"]}
    slug = str(problem.get("type", "")).removeprefix(_PROBLEM)
    told: int = problem["status"]
    status = 404 if slug in _MODEL_MISSING else 400 if slug in _NO_PICTURE else _STATUS.get(told, told)
    faults = problem.get("errors") or []
    is_broke = told == HTTPStatus.PAYMENT_REQUIRED
    return error_answer(
        status,
        "insufficient_quota" if is_broke else _CODES.get(slug, slug.replace("-", "_")),
        _message(problem, faults),
        kind="insufficient_quota" if is_broke else _kind(status),
        param=_param(faults[0]) if faults else None,
        may_repeat=bool(problem.get("retryable")) and not is_broke,
        headers=dict(headers),
    )


def _message(problem: Mapping[str, Any], faults: list[dict[str, str]]) -> str:
    """Clients show nothing else, so all that is wrong is in it, with the names of the parameters."""
    if not faults:
        return str(problem.get("detail") or problem.get("title") or "The request failed.")
    told = [f"'{param}': {each['detail']}" if (param := _param(each)) else each["detail"] for each in faults]
    more = len(told) - _FAULTS_TOLD
    return " ".join(told[:_FAULTS_TOLD]) + (f" And {more} more." if more > 0 else "")


def _param(fault: Mapping[str, str]) -> str | None:
    """OpenAI's own way to write a place: `image[1]`."""
    if (name := fault.get("parameter")) is not None:
        return name
    first, *rest = fault.get("pointer", "").split("/")[1:] or [""]
    return first.replace("~1", "/").replace("~0", "~") + "".join(f"[{each}]" for each in rest if each) or None


def _kind(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
