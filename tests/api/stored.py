"""Jobs with pictures that no worker has made: for tests of how bytes are served."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import asyncpg
import httpx2

from safelight.domain.ids import JobId
from safelight.storage.blob_store import BlobStore
from safelight.storage.keys import blob_key
from tests.api.conftest import image, submitted

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8
CARD = {"name": "card", "width": 64, "height": 64}


async def stored_job(
    client: httpx2.AsyncClient,
    pool: asyncpg.Pool,
    blobs: BlobStore,
    pictures: Mapping[str, bytes] | None = None,
    *,
    group: str = "",
    failed: tuple[str, ...] = (),
    **fields: Any,
) -> dict[str, Any]:
    """A job that has ended, with these pictures in each of its outputs, as its caller sees it."""
    pictures = {"one": JPEG} if pictures is None else pictures
    wishes = [image(name, group=group, prompt=f"SECRET-{name}") for name in (*pictures, *failed)]
    accepted = await submitted(client, images=wishes, **{"outputs": [CARD], **fields})
    await settle(pool, blobs, JobId(accepted["id"]), pictures)
    return (await client.get(accepted["urls"]["self"])).json()


async def settle(pool: asyncpg.Pool, blobs: BlobStore, job_id: JobId, pictures: Mapping[str, bytes]) -> None:
    """What a worker would have left behind."""
    outputs = [each["name"] for each in await pool.fetchval("SELECT outputs FROM jobs WHERE id = $1", job_id)]
    for row in await pool.fetch("SELECT row_id, id, image_group FROM images WHERE job_id = $1", job_id):
        if (data := pictures.get(row["id"])) is None:
            continue
        for output in outputs:
            sha256 = hashlib.sha256(data).hexdigest()
            key = blob_key(
                account=None,
                prefix=job_id,
                group=row["image_group"],
                image_id=row["id"],
                output=output,
                row_id=row["row_id"],
                sha256=sha256,
                extension="jpg",
            )
            await blobs.put(key, data, content_type="image/jpeg")
            await pool.execute(
                "INSERT INTO renditions (image_row_id, name, key, format, mime, width_px, height_px, length, sha256)"
                " VALUES ($1, $2, $3, 'jpeg', 'image/jpeg', 64, 64, $4, $5)",
                *(row["row_id"], output, key, len(data), sha256),
            )
    await pool.execute(
        "UPDATE images SET status = CASE WHEN id = ANY($2) THEN 'completed' ELSE 'failed' END,"
        ' error = CASE WHEN id <> ALL($2) THEN \'{"kind": "PERMANENT", "code": "X", "message": "SECRET it said",'
        ' "retryable": false, "billed": "no"}\'::jsonb END, completed_at = safelight.now() WHERE job_id = $1',
        *(job_id, list(pictures)),
    )
    await pool.execute("UPDATE jobs SET status = 'partial', completed_at = safelight.now() WHERE id = $1", job_id)
