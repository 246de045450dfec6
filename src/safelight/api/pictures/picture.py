"""A stored picture as an answer: the whole or a part of it, in steps, and never as anything but a picture."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from safelight.api.edge.etag import is_known
from safelight.api.edge.problems import problem
from safelight.api.edge.ranges import NoSuchPart, Part, part_of
from safelight.api.pictures.passes import Leave
from safelight.domain.errors import Unavailable
from safelight.storage.blob_store import BlobMissing, BlobStore
from safelight.storage.serving import OpenBlob, Presigns, opened

_PRESIGNED_SECONDS = 300
_SUFFIX = {"jpeg": "jpg"}


class BrokeOff(Exception):
    """The bytes ended before their length: the answer has begun, and must not look as if it were whole."""


def suffix_of(picture_format: str) -> str:
    return _SUFFIX.get(picture_format, picture_format)


async def picture_answer(
    request: Request, blobs: BlobStore, row: Mapping[str, Any], leave: Leave, *, is_download: bool, may_redirect: bool
) -> Response:
    """Of a rendition. It never changes under its address; its type is what we rendered or found, whatever its bytes may
    look like to a browser.

    Whoever deletes it meanwhile: it is sent whole, as far as the store can promise it, or the connection breaks off.
    Raises Unavailable.
    """
    length, tag = row["length"], f'"{row["sha256"]}"'
    disposition = f'{"attachment" if is_download else "inline"}; filename="{row["id"]}.{suffix_of(row["format"])}"'
    headers = {
        "ETag": tag,
        "Cache-Control": f"{'public' if leave.is_for_all else 'private'}, immutable, max-age={leave.kept_seconds}",
        "Accept-Ranges": "bytes",
        "Content-Disposition": disposition,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cross-Origin-Resource-Policy": "cross-origin" if leave.is_for_all else "same-site",
        "X-Content-Type-Options": "nosniff",
    }
    if is_known(request, tag):
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return Response(None, 200, {**headers, "Content-Length": str(length)}, row["mime"])
    if may_redirect and not is_download and isinstance(blobs, Presigns):
        address = await blobs.presign(row["key"], expires_seconds=min(_PRESIGNED_SECONDS, leave.kept_seconds))
        return Response(status_code=307, headers={"Location": address, "Cache-Control": "no-store"})
    try:
        part = part_of(request, tag=tag, length=length)
    except NoSuchPart:
        detail = f"The picture has {length} bytes."
        return problem(request, "range-not-satisfiable", detail, headers={"Content-Range": f"bytes */{length}"})
    if part is None:
        return await _sent(blobs, row, Part(0, length), 200, headers)
    return await _sent(blobs, row, part, 206, {**headers, "Content-Range": part.content_range(length)})


async def _sent(
    blobs: BlobStore, row: Mapping[str, Any], part: Part, status: int, headers: Mapping[str, str]
) -> Response:
    headers = {**headers, "Content-Length": str(part.length)}
    stack = AsyncExitStack()
    try:
        blob = await stack.enter_async_context(opened(blobs, row["key"], length=row["length"]))
        if blob.length != row["length"]:
            raise BlobMissing
        first = await blob.read(part.start, min(blob.step_bytes, part.length))
        if not first:
            raise BlobMissing
    except BlobMissing:
        await stack.aclose()
        raise Unavailable("The picture cannot be read from the storage at the moment.") from None
    except BaseException:
        await stack.aclose()
        raise
    if len(first) == part.length:
        await stack.aclose()
        return Response(first, status, headers, row["mime"])
    return StreamingResponse(_rest(stack, blob, first, part), status, headers, row["mime"])


async def _rest(stack: AsyncExitStack, blob: OpenBlob, first: bytes, part: Part) -> AsyncIterator[bytes]:
    async with stack:
        yield first
        sent = len(first)
        while sent < part.length:
            step = await blob.read(part.start + sent, min(blob.step_bytes, part.length - sent))
            if not step:
                raise BrokeOff
            yield step
            sent += len(step)
