"""The body of a request, off the wire: bounded in size and in time before anything looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
    require_identity(request)
    if is_required:
        _require_json(request)
    raw = await _read(request, within_seconds=within_seconds)
    if not raw and not is_required:
        return {}
    _require_json(request)
    if len(raw) <= _PARSED_IN_PLACE_BYTES:
        return parse_object(raw)
    return await asyncio.to_thread(parse_object, raw)


def require_identity(request: Request) -> None:
    """Raises SafelightError (`unsupported-encoding`)."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise SafelightError("The body is encoded; send it as it is.", slug="unsupported-encoding")


async def read_pieces(
    request: Request, take: Callable[[bytes], object], *, max_bytes: int, within_seconds: float, cut_short: str
) -> None:
    """The whole body has been taken, as it came. Raises SafelightError: `payload-too-large`, `request-timeout`, and
    `cut_short` for one that ended too early."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > max_bytes:
        raise _too_large(max_bytes)
    taken = 0
    try:
        async with asyncio.timeout(within_seconds), aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                taken += len(chunk)
                if taken > max_bytes:
                    raise _too_large(max_bytes)
                take(chunk)
    except TimeoutError:
        raise SafelightError(
            f"The body did not arrive within {within_seconds:g} seconds.", slug="request-timeout"
        ) from None
    except ClientDisconnect:
        raise SafelightError("The body ended before it was complete.", slug=cut_short) from None


def _require_json(request: Request) -> None:
    sent = request.headers.getlist("content-type")
    media_type, _, parameters = (sent[0] if len(sent) == 1 else "").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    if media_type.strip().lower() != "application/json" or charset not in ("", "utf-8", "utf8"):
        raise SafelightError(
            "The body must be sent as `Content-Type: application/json`.", slug="unsupported-media-type"
        )


async def _read(request: Request, *, within_seconds: float) -> bytes:
    body = bytearray()
    await read_pieces(
        request, body.extend, max_bytes=MAX_BODY_BYTES, within_seconds=within_seconds, cut_short="malformed-json"
    )
    return bytes(body)


def _too_large(max_bytes: int) -> SafelightError:
    most = f"{max_bytes // 1_000_000} MB" if max_bytes >= 1_000_000 else f"{max_bytes // 1000} kB"
    return SafelightError(f"The body is larger than {most}.", slug="payload-too-large")
