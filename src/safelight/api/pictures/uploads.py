"""Uploads: pictures of a caller's own, to make others from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Reads, Submits, acting_for, reach_of
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.etag import is_known
from safelight.api.edge.multipart import malformed, read_form
from safelight.api.edge.openapi import documented, problems
from safelight.api.edge.problems import problem
from safelight.delivery.links import Links
from safelight.domain.errors import NotFound, Unavailable
from safelight.domain.ids import is_upload_id
from safelight.engine.accounts.uploads import (
    MAX_UPLOAD_BYTES,
    UnusablePicture,
    Upload,
    content_of,
    keep_upload,
    remove_upload,
    upload_of,
)

NoQuery = Annotated[schemas.NoQuery, Query()]

_FILE = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary", "minLength": 1}},
                    "additionalProperties": False,
                }
            }
        },
    }
}
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture.",
        "content": {mime: {"schema": {"type": "string", "format": "binary"}} for mime in ("image/png", "image/jpeg")},
        "headers": {"ETag": {"description": "Its SHA-256.", "schema": {"type": "string"}}},
    },
    304: {"description": "The caller has it already: `If-None-Match` names its ETag."},
}


class UploadPlaces:
    """How many uploads one process takes at a time, from their first byte on: each is in memory until it is stored.
    Half of the places are one account's at most."""

    def __init__(self, *, most: int) -> None:
        self._most = most
        self._taken = Counter[str]()

    @contextmanager
    def taken(self, account: str) -> Iterator[None]:
        """Raises Unavailable (`too-many-uploads`)."""
        if self._taken.total() >= self._most or self._taken[account] >= max(1, self._most // 2):
            raise Unavailable("Too many uploads are being taken at the moment.", slug="too-many-uploads")
        self._taken[account] += 1
        try:
            yield
        finally:
            self._taken[account] -= 1
            self._taken += Counter()  # forgets those that have none


def upload_routes(deps: ApiDependencies, places: UploadPlaces) -> APIRouter:
    router = APIRouter(prefix="/v1/uploads", tags=["uploads"])
    links = Links(deps.public_url)

    @router.post(
        "",
        status_code=201,
        responses=documented(201, schemas.Upload, "Kept.", headers={"Location": "Where it is."})
        | problems(400, 404, 408, 413, 415, 422),
        openapi_extra=_FILE,
    )
    async def create_upload(
        request: Request, caller: Submits, query: Annotated[schemas.AccountQuery, Query()]
    ) -> Response:
        """Keeps the picture in the part `file`, decoded and written anew, without anything but its pixels.

        The same bytes again are the same upload, kept for as long again.
        """
        account = acting_for(caller, query.account)
        with places.taken(account):
            form = await read_form(request, max_bytes=MAX_UPLOAD_BYTES, max_parts=1, within_seconds=deps.body_seconds)
            if [part.name for part in form] != ["file"] or not form[0].data:
                raise malformed("The form must have exactly one part, `file`, and it must not be empty.")
            try:
                upload = await keep_upload(
                    deps.pool,
                    deps.blobs,
                    deps.renderer,
                    account=account,
                    data=form.pop().data,
                    days=deps.upload_retention_days,
                )
            except UnusablePicture as refusal:
                status = 422 if refusal.is_animated else None
                return problem(request, refusal.slug, refusal.detail, status=status)
        return _answer(_shown(upload, links), 201, {"Location": links.upload(upload.id)})

    @router.get("/{upload_id}", responses=documented(200, schemas.Upload, "The upload.") | problems(404, 422))
    async def get_upload(caller: Reads, upload_id: str, _: NoQuery) -> Response:
        """What is known of an upload, without its bytes."""
        return _answer(_shown(await upload_of(deps.pool, _known(upload_id), account=reach_of(caller)), links))

    @router.get("/{upload_id}/content", responses=_PICTURE | problems(404, 422))
    async def get_upload_content(request: Request, caller: Reads, upload_id: str, _: NoQuery) -> Response:
        """The picture that is kept: a PNG or a JPEG, and not the file that was sent."""
        upload = await upload_of(deps.pool, _known(upload_id), account=reach_of(caller))
        headers = {
            "ETag": f'"{upload.sha256}"',
            "Cache-Control": "private, no-cache",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        if is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(await content_of(deps.pool, deps.blobs, upload), 200, headers, upload.mime)

    @router.delete(
        "/{upload_id}",
        status_code=204,
        responses={204: {"description": "The upload and its bytes are gone."}} | problems(404, 409, 422),
    )
    async def delete_upload(caller: Submits, upload_id: str, _: NoQuery) -> Response:
        """Deletes an upload that no job is to be made from any more. What was made of it stays."""
        await remove_upload(deps.pool, deps.blobs, _known(upload_id), account=reach_of(caller))
        return Response(status_code=204)

    return router


def _known(upload_id: str) -> str:
    if not is_upload_id(upload_id):
        raise NotFound("There is no such upload.")
    return upload_id


def _shown(upload: Upload, links: Links) -> schemas.Upload:
    return schemas.Upload(
        id=upload.id,
        width=upload.width_px,
        height=upload.height_px,
        format=upload.format,
        bytes=upload.length,
        sha256=upload.sha256,
        has_alpha=upload.has_alpha,
        url=links.upload(upload.id, "/content"),
        created_at=upload.created_at,
        expires_at=upload.expires_at,
    )


def _answer(content: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(
        content.model_dump_json(), status, {"Cache-Control": "no-store", **(headers or {})}, "application/json"
    )
