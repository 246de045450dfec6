"""Pictures, byte for byte as they were stored."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import problems
from safelight.api.pictures.passes import Pass, Views, leave_of, reach_with
from safelight.api.pictures.picture import picture_answer
from safelight.db.statements import load
from safelight.domain.access import Caller
from safelight.domain.errors import Conflict, Gone, InvalidSignature, NotFound
from safelight.domain.ids import IMAGE_ID_PATTERN, is_job_id
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.signing import Signer
from safelight.imaging.rendition import MIME

REMOVED = "The job's pictures were removed."

_SQL = load("read")
_NAME = re.compile(IMAGE_ID_PATTERN)
_BYTES = {mime: {"schema": {"type": "string", "format": "binary"}} for mime in MIME.values()}
_PICTURE = {
    200: {
        "description": "The picture.",
        "content": _BYTES,
        "headers": {"ETag": {"description": "Its SHA-256.", "schema": {"type": "string"}}},
    },
    206: {
        "description": "The one part of it that `Range` asked for.",
        "content": _BYTES,
        "headers": {"Content-Range": {"description": "Which part it is.", "schema": {"type": "string"}}},
    },
    304: {"description": "The caller has it already: `If-None-Match` names its ETag."},
    307: {"description": "The picture lies at `Location`, for some minutes; where the installation is set so."},
}

PictureQuery = Annotated[schemas.PictureQuery, Query()]


def image_routes(deps: ApiDependencies, signer: Signer) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs/{job_id}/images", tags=["images"])

    @router.head("/{image_id}", include_in_schema=False)
    @router.get("/{image_id}", responses=_PICTURE | problems(404, 409, 410, 416, 422))
    async def get_image(request: Request, viewer: Views, job_id: str, image_id: str, query: PictureQuery) -> Response:
        """The image in the first of the job's outputs. A link from the job's answer needs no key."""
        return await _picture(deps, signer, request, viewer, (job_id, image_id), is_download=query.is_download)

    @router.head("/{image_id}/{output}", include_in_schema=False)
    @router.get("/{image_id}/{output}", responses=_PICTURE | problems(404, 409, 410, 416, 422))
    async def get_output(
        request: Request, viewer: Views, job_id: str, image_id: str, output: str, query: PictureQuery
    ) -> Response:
        """The image in one of the job's outputs. A link from the job's answer needs no key."""
        return await _picture(deps, signer, request, viewer, (job_id, image_id, output), is_download=query.is_download)

    return router


async def _picture(
    deps: ApiDependencies,
    signer: Signer,
    request: Request,
    viewer: Caller | Pass,
    names: tuple[str, str] | tuple[str, str, str],
    *,
    is_download: bool,
) -> Response:
    """Removed is removed from the moment that it was asked for, whatever is still stored."""
    job_id, *of_image = names
    if not is_job_id(job_id) or not all(_NAME.fullmatch(name) for name in of_image):
        raise _no_such_image(viewer)
    output = of_image[1] if len(of_image) > 1 else None
    async with deps.pool.acquire(timeout=deps.acquire_seconds) as conn:
        row = await conn.fetchrow(_SQL.rendition, reach_with(viewer), job_id, of_image[0], output)
    leave = leave_of(viewer, request, f"/v1/jobs/{job_id}/images/{'/'.join(of_image)}", row, signer)
    if row is None or (output is not None and output not in [each["name"] for each in row["outputs"]]):
        raise _no_such_image(viewer)
    if row["is_removed"]:
        raise Gone(REMOVED)
    if not row["outputs"]:
        raise NotFound("The job keeps no outputs, so its images have no picture to fetch.")
    if row["status"] != ImageStatus.COMPLETED or row["key"] is None:
        raise Conflict(f"The image is {row['status']}.", slug="image-not-ready")
    return await picture_answer(
        request, deps.blobs, row, leave, is_download=is_download, may_redirect=deps.redirect_downloads
    )


def _no_such_image(viewer: Caller | Pass) -> NotFound | InvalidSignature:
    return InvalidSignature() if isinstance(viewer, Pass) else NotFound("There is no such image.")
