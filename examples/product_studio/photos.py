"""Photos of products and of people: Safelight keeps them, the studio remembers whose they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response, UploadFile

from examples.product_studio.problems import NotThere, Problem
from examples.product_studio.store import Photo
from examples.product_studio.visitors import TheStudio, Visitor
from examples.product_studio.wishes import PhotoKind

MAX_BYTES = 20_000_000
"""What Safelight takes. More is refused here already, before it is all in memory."""

photos = APIRouter(prefix="/api/uploads")


@photos.post("", status_code=201)
async def upload(
    studio: TheStudio, user: Visitor, file: UploadFile, kind: Annotated[PhotoKind, Query()]
) -> dict[str, Any]:
    """The photo's id, to order pictures with."""
    content = await file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Problem(413, "payload-too-large", f"A photo has at most {MAX_BYTES // 1_000_000} MB.")
    kept = await studio.safelight.upload(content, account=user.id)
    photo = Photo(
        upload_id=kept.id,
        kind=kind,
        name=(file.filename or "photo")[:200],
        width_px=kept.width_px,
        height_px=kept.height_px,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        expires_at=kept.expires_at,
    )
    await studio.store.add_photo(user.id, photo)
    return shown_photo(photo)


@photos.get("")
async def list_photos(studio: TheStudio, user: Visitor) -> dict[str, Any]:
    return {"uploads": [shown_photo(each) for each in await studio.store.photos(user.id)]}


@photos.get("/{upload_id}/content")
async def content(studio: TheStudio, user: Visitor, upload_id: str) -> Response:
    """The photo as Safelight keeps it."""
    if all(each.upload_id != upload_id for each in await studio.store.photos(user.id)):
        raise NotThere("photo")
    path = f"/v1/uploads/{upload_id}/content"
    kept = await studio.safelight.call("GET", path, may_repeat=True)
    return Response(
        kept.content,
        media_type=kept.headers["content-type"],
        headers={"cache-control": "private, max-age=86400", "x-content-type-options": "nosniff"},
    )


def shown_photo(photo: Photo) -> dict[str, Any]:
    return {
        "id": photo.upload_id,
        "kind": photo.kind,
        "name": photo.name,
        "width": photo.width_px,
        "height": photo.height_px,
        "url": f"/api/uploads/{photo.upload_id}/content",
        "expires_at": photo.expires_at,
    }
