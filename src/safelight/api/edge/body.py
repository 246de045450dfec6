"""The body of a request, off the wire: bounded in size and in time before anything looks at it."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

from starlette.requests import ClientDisconnect, Request

from safelight.api.edge.strict_json import parse_object
from safelight.domain.errors import SafelightError

MAX_BODY_BYTES = 8_000_000
_PARSED_IN_PLACE_BYTES = 100_000


async def read_object(request: Request, *, within_seconds: float, is_required: bool = True) -> dict[str, Any]:
    """The JSON object that was sent. Where it is not required, no body at all is an empty object.

    Raises SafelightError with the slug of what is wrong; a large body is parsed in a thread, so that others
    go on.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise SafelightError("The body is encoded; send it as it is.", slug="unsupported-encoding")
    if is_required:
        _require_json(request)
    raw = await _read(request, within_seconds=within_seconds)
    if not raw and not is_required:
        return {}
    _require_json(request)
    if len(raw) <= _PARSED_IN_PLACE_BYTES:
        return parse_object(raw)
    return await asyncio.to_thread(parse_object, raw)


def _require_json(request: Request) -> None:
    sent = request.headers.getlist("content-type")
    media_type, _, parameters = (sent[0] if len(sent) == 1 else "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise SafelightError(
            "The body must be sent as `Content-Type: application/json`.", slug="unsupported-media-type"
        )


async def _read(request: Request, *, within_seconds: float) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(within_seconds), aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise SafelightError(
            f"The body did not arrive within {within_seconds:g} seconds.", slug="request-timeout"
        ) from None
    except ClientDisconnect:
        raise SafelightError("The body ended before it was complete.", slug="malformed-json") from None
    return bytes(body)


def _too_large() -> SafelightError:
    return SafelightError(f"The body is larger than {MAX_BODY_BYTES // 1_000_000} MB.", slug="payload-too-large")
