"""All pictures of a job in one file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from safelight.api import schemas
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import problems
from safelight.api.edge.problems import RequestFault
from safelight.api.pictures.passes import Pass, Views, leave_of, reach_with
from safelight.api.pictures.picture import suffix_of
from safelight.api.pictures.routes import REMOVED
from safelight.api.pictures.zipping import Entry, zipped
from safelight.db.statements import load
from safelight.domain.errors import Conflict, Gone, InvalidRequest, InvalidSignature, NotFound
from safelight.domain.ids import is_job_id
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.money import format_usd
from safelight.domain.signing import Signer
from safelight.storage.serving import opened

MANIFEST = "manifest.json"

_SQL = load("read")
_ARCHIVE = {
    200: {
        "description": "The pictures, not compressed any further.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]|^\.+|\.+$", re.ASCII)
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE | re.ASCII)
"""Names that Windows gives to devices, whatever their extension."""


def archive_routes(deps: ApiDependencies, signer: Signer) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs", tags=["images"])

    @router.get("/{job_id}/archive", responses=_ARCHIVE | problems(404, 409, 410, 422))
    async def get_archive(
        request: Request, viewer: Views, job_id: str, query: Annotated[schemas.ArchiveQuery, Query()]
    ) -> Response:
        """Every completed image in one of the job's outputs, as `{group}/{id}.{ext}` in a ZIP file, with
        `manifest.json`, which tells of the others too. The connection breaks off if a picture cannot be read to its
        end."""
        rows: list[asyncpg.Record] = []
        if is_job_id(job_id):
            async with deps.pool.acquire(timeout=deps.acquire_seconds) as conn:
                rows = await conn.fetch(_SQL.job, job_id, reach_with(viewer))
        first: Any = rows[0] if rows else None
        leave_of(viewer, request, f"/v1/jobs/{job_id}/archive", first, signer)
        if first is None:
            raise InvalidSignature if isinstance(viewer, Pass) else NotFound("There is no such job.")
        if first["removed_at"] is not None:
            raise Gone(REMOVED)
        output = _chosen([each["name"] for each in first["outputs"]], query.output)
        pictures = list(_pictures(rows, output))
        if not pictures:
            raise Conflict("No image of the job has a picture yet.", slug="image-not-ready")
        manifest = orjson.dumps(_manifest(rows, output, pictures), option=orjson.OPT_INDENT_2)
        entries = (
            Entry(
                name=name,
                at=row["image_completed_at"],
                length=stored["length"],
                content=opened(deps.blobs, stored["key"], length=stored["length"]),
            )
            for row, stored, name in pictures
        )
        headers = {
            "Cache-Control": "no-store",
            "Content-Disposition": f'attachment; filename="{job_id}.zip"',
            "X-Content-Type-Options": "nosniff",
        }
        return StreamingResponse(zipped((MANIFEST, first["at"], manifest), entries), 200, headers, "application/zip")

    return router


def _chosen(outputs: Sequence[str], wanted: str | None) -> str:
    if wanted is not None and wanted not in outputs:
        fault = RequestFault("output", "The job has no such output.", in_query=True)
        raise InvalidRequest(fault.detail, faults=(fault,))
    if not outputs:
        raise NotFound("The job keeps no outputs, so its images have no picture to fetch.")
    return wanted or outputs[0]


def _pictures(rows: Sequence[asyncpg.Record], output: str) -> Iterator[tuple[asyncpg.Record, dict[str, Any], str]]:
    """Each completed image, its stored output, and a name that no other has, on any file system, nor any folder."""
    taken = {MANIFEST, *(_folder(row["image_group"]).lower() for row in rows)}
    for row in rows:
        if row["image_status"] != ImageStatus.COMPLETED:
            continue
        for stored in row["renditions"] or ():
            if stored["name"] == output:
                yield row, stored, _entry_name(row["image_group"], row["image_id"], suffix_of(stored["format"]), taken)


def _entry_name(group: str, image_id: str, extension: str, taken: set[str]) -> str:
    stem = (f"{_folder(group)}/" if group else "") + _tame(image_id)
    name, n = f"{stem}.{extension}", 1
    while name.lower() in taken:
        n += 1
        name = f"{stem}~{n}.{extension}"
    taken.add(name.lower())
    return name


def _folder(group: str) -> str:
    name = _tame(group)
    return f"_{name}" if name.lower() == MANIFEST else name


def _tame(name: str) -> str:
    name = _UNSAFE.sub("_", name)
    return f"_{name}" if _DEVICE.match(name) else name


def _manifest(
    rows: Sequence[asyncpg.Record],
    output: str,
    pictures: Sequence[tuple[asyncpg.Record, dict[str, Any], str]],
) -> dict[str, Any]:
    """What the archive holds, and what became of the images without a picture; nothing that quotes a prompt."""
    found = {row["image_id"]: (stored, name) for row, stored, name in pictures}
    return {
        "job_id": rows[0]["id"],
        "status": rows[0]["status"],
        "output": output,
        "images": [_told(row, *found.get(row["image_id"], (None, None))) for row in rows],
    }


def _told(row: asyncpg.Record, stored: dict[str, Any] | None, name: str | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "id": row["image_id"],
        "group": row["image_group"],
        "status": row["image_status"],
        "provider": row["provider"],
        "model": row["model"],
        "cost_usd": None if row["has_unknown"] else format_usd(row["known_microusd"]),
    }
    if stored is not None:
        told |= {
            "file": name,
            "width": stored["width_px"],
            "height": stored["height_px"],
            "bytes": stored["length"],
            "format": stored["format"],
            "sha256": stored["sha256"],
        }
    elif row["error"] is not None:
        told["error"] = {"kind": row["error"].get("kind"), "code": row["error"].get("code")}
    return told
