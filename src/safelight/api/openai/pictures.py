"""The answer with a job's pictures, and whether it was taken."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from safelight.api.openai.asked import Asked
from safelight.api.openai.failed import why_missing
from safelight.api.schemas.openai import (
    FailedImage,
    GeneratedImage,
    GeneratedImages,
    ImageUsage,
    InputTokens,
    SafelightNote,
)
from safelight.domain.errors import SafelightError, Unavailable
from safelight.domain.lifecycle import ImageStatus
from safelight.storage.blob_store import BlobMissing, BlobStore

_TOKENS = ("input_tokens", "output_tokens", "total_tokens")
_OF_INPUT = ("text_tokens", "image_tokens")


class HandedOver(Response):
    """Runs `once_taken` when the answer has left for a client that has not gone, before it can know that it has all.
    The `pieces` are its body, each gone from memory once it is sent."""

    def __init__(
        self, pieces: Sequence[bytes], headers: Mapping[str, str], *, once_taken: Callable[[], Awaitable[None]]
    ) -> None:
        length = str(sum(len(piece) for piece in pieces))
        super().__init__(None, 200, {**headers, "Content-Length": length}, "application/json")
        self._pieces = deque(pieces)
        self._once_taken = once_taken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while len(self._pieces) > 1:
            await send({"type": "http.response.body", "body": self._pieces.popleft(), "more_body": True})
        last = self._pieces.pop()
        await send({"type": "http.response.body", "body": last[:-1], "more_body": True})
        # The server lets us on from here once nearly all of it has gone out. After the last byte nobody could tell any
        # more whether the client was still there; and with it the client may ask for the same again, as a new wish.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        if not await Request(scope, receive).is_disconnected():
            await self._once_taken()
        await send({"type": "http.response.body", "body": last[-1:], "more_body": False})


async def pictures_body(
    images: Sequence[Mapping[str, Any]],
    asked: Asked,
    *,
    job_id: str,
    blobs: BlobStore,
    address: Callable[[str], str],
) -> list[bytes]:
    """The body in pieces, since it may be very large: put together, it would be in memory several times. `images` are
    those of a job that has ended with a picture at least; `address` is where one can be fetched.

    Raises SafelightError (`gone`) when what was made has been erased since, and Unavailable when the storage fails.
    """
    with_picture = [image for image in images if image["key"] is not None]
    if not with_picture:
        raise SafelightError("The pictures of this job are not kept any more.", slug="gone")
    head, tail = _around(images, with_picture, asked, job_id)
    pieces = [head]
    for n, image in enumerate(with_picture):
        if n:
            pieces.append(b",")
        if asked.is_url:
            pieces.append(GeneratedImage(url=address(image["id"])).model_dump_json(exclude_none=True).encode())
        else:
            pieces += [b'{"b64_json":"', await asyncio.to_thread(base64.b64encode, await _read(blobs, image)), b'"}']
    return [*pieces, tail]


async def _read(blobs: BlobStore, image: Mapping[str, Any]) -> bytes:
    try:
        data = await blobs.get(image["key"])
    except BlobMissing:
        data = b""
    if len(data) != image["length"]:
        raise Unavailable("A picture cannot be read from the storage at the moment.")
    return data


def _around(
    images: Sequence[Mapping[str, Any]], with_picture: Sequence[Mapping[str, Any]], asked: Asked, job_id: str
) -> tuple[bytes, bytes]:
    """The answer before its pictures, and behind them."""
    first = with_picture[0]
    answer = GeneratedImages(
        created=int(first["created_at"].timestamp()),
        data=[],
        output_format=first["format"],
        size=f"{first['width_px']}x{first['height_px']}",
        quality=asked.quality,
        background="opaque" if asked.is_opaque else None,
        usage=_usage([image["usage"] for image in with_picture]),
        safelight=SafelightNote(job_id=job_id, failed=[*_failed(images)]),
    )
    head, brackets, tail = answer.model_dump_json(exclude_none=True).encode().partition(b'"data":[]')
    return head + brackets[:-1], brackets[-1:] + tail


def _failed(images: Sequence[Mapping[str, Any]]) -> list[FailedImage]:
    return [
        FailedImage(index=index, code=code, message=message)
        for index, image in enumerate(images)
        if image["status"] != ImageStatus.COMPLETED
        for code, message in [why_missing(image)]
    ]


def _usage(counted: Sequence[Mapping[str, Any] | None]) -> ImageUsage | None:
    """The sum, if every call was counted as OpenAI counts."""
    if not all(each and all(isinstance(each.get(name), int) for name in _TOKENS) for each in counted):
        return None
    calls = [each for each in counted if each]
    details = [each.get("input_tokens_details") or {} for each in calls]
    if not all(isinstance(each, Mapping) and _are_counts(map(each.get, _OF_INPUT)) for each in details):
        return None
    return ImageUsage(
        **{name: sum(each[name] for each in calls) for name in _TOKENS},
        input_tokens_details=InputTokens(
            text_tokens=sum(each.get("text_tokens") or 0 for each in details),
            image_tokens=sum(each.get("image_tokens") or 0 for each in details),
        ),
    )


def _are_counts(numbers: Iterable[object]) -> bool:
    return all(isinstance(number or 0, int) for number in numbers)
