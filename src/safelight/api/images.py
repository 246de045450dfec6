"""Pictures, byte for byte as they were stored."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request
from starlette.responses import Response

from safelight.api.access import Reads
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.etag import is_known
from safelight.api.edge.openapi import problems
from safelight.db.statements import load
from safelight.domain.errors import Conflict, NotFound, Unavailable
from safelight.domain.ids import IMAGE_ID_PATTERN, is_job_id
from safelight.domain.lifecycle import ImageStatus
from safelight.imaging.rendition import MIME
from safelight.storage.blob_store import BlobMissing

_SQL = load("read")
_NAME = re.compile(IMAGE_ID_PATTERN)
_PICTURE = {
    200: {
        "description": "The picture.",
        "content": {mime: {"schema": {"type": "string", "format": "binary"}} for mime in MIME.values()},
        "headers": {"ETag": {"description": "Its SHA-256.", "schema": {"type": "string"}}},
    },
    304: {"description": "The caller has it already: `If-None-Match` names its ETag."},
}


def image_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs/{job_id}/images", tags=["images"])

    @router.get("/{image_id}", responses=_PICTURE | problems(404, 409))
    async def get_image(request: Request, caller: Reads, job_id: str, image_id: str) -> Response:
        """The image in the first of the job's outputs."""
        return await _picture(deps, request, caller.account, job_id, image_id, None)

    @router.get("/{image_id}/{output}", responses=_PICTURE | problems(404, 409))
    async def get_output(request: Request, caller: Reads, job_id: str, image_id: str, output: str) -> Response:
        """The image in one of the job's outputs."""
        return await _picture(deps, request, caller.account, job_id, image_id, output)

    return router


async def _picture(
    deps: ApiDependencies, request: Request, account: str, job_id: str, image_id: str, output: str | None
) -> Response:
    """A picture never changes under its address, so it may be kept for ever.

    Its type is what we rendered or found, whatever its bytes may look like to a browser.
    """
    names = (image_id,) if output is None else (image_id, output)
    if not is_job_id(job_id) or not all(_NAME.fullmatch(name) for name in names):
        raise NotFound("There is no such image.")
    async with deps.pool.acquire(timeout=deps.acquire_seconds) as conn:
        row = await conn.fetchrow(_SQL.rendition, account, job_id, image_id, output)
    if row is None or (output is not None and output not in [each["name"] for each in row["outputs"]]):
        raise NotFound("There is no such image.")
    if not row["outputs"]:
        raise NotFound("The job keeps no outputs, so its images have no picture to fetch.")
    if row["status"] != ImageStatus.COMPLETED or row["key"] is None:
        raise Conflict(f"The image is {row['status']}.", slug="image-not-ready")
    headers = {
        "ETag": f'"{row["sha256"]}"',
        "Cache-Control": "private, immutable, max-age=31536000",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    try:
        data = await deps.blobs.get(row["key"])
    except BlobMissing:
        data = b""
    if len(data) != row["length"]:
        raise Unavailable("The picture cannot be read from the storage at the moment.")
    return Response(data, 200, headers, row["mime"])
