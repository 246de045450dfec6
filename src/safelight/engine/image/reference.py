"""Pictures that other images are made from: kept when they are made, read when they are asked with.

What goes into a call is an upload, or the vendor's own file of another image, not one of the job's outputs. So an image
that another one references keeps its original beside its outputs, under a name that no caller can ask for.
"""

from __future__ import annotations

import asyncio
import hashlib

import asyncpg

from safelight.db.pool import ACQUIRE_SECONDS, TRANSIENT
from safelight.db.statements import load
from safelight.engine.image.lease import Lease
from safelight.engine.image.outcome import AttemptEnd, Verdict, reference_gone, reference_not_read
from safelight.imaging.rendition import Original
from safelight.providers.provider import ImageInput, InputRole
from safelight.storage.blob_store import BlobMissing, BlobStore
from safelight.storage.keys import InvalidKey

SOURCE = Original(name="_source")
"""The internal output. A caller's names begin with a letter or a digit."""

_SQL = load("references")


class NoReference(Exception):
    """A picture that is to go into a call could not be had, so the call is not made."""

    def __init__(self, end: AttemptEnd, verdict: Verdict) -> None:
        super().__init__(end.error.message)
        self.end = end
        self.verdict = verdict


async def inputs_of(
    pool: asyncpg.Pool, blobs: BlobStore, lease: Lease, *, within_seconds: float
) -> tuple[ImageInput, ...]:
    """The pictures that go into the image's call, in order, whole; the mask comes last. Raises NoReference."""
    if not lease.has_references:
        return ()
    what = ""
    try:
        async with asyncio.timeout(within_seconds):
            inputs: list[ImageInput] = []
            for row in await pool.fetch(_SQL.sources_of, lease.row_id, timeout=ACQUIRE_SECONDS):
                what = _name(row)
                inputs.append(await _input(blobs, row))
            return tuple(inputs)
    except (BlobMissing, InvalidKey):
        raise NoReference(*reference_gone(what)) from None
    except TRANSIENT:
        raise NoReference(*reference_not_read(what)) from None


async def _input(blobs: BlobStore, row: asyncpg.Record) -> ImageInput:
    """Raises BlobMissing for a file that is gone, or is not the one that was kept."""
    data = await blobs.get(row["key"]) if row["key"] is not None else b""
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise BlobMissing(f"{_name(row)} is not what was kept")
    return ImageInput(role=InputRole.MASK if row["is_mask"] else InputRole.REFERENCE, mime=row["mime"], data=data)


def _name(row: asyncpg.Record) -> str:
    if row["parent_id"] is not None:
        return f"The picture of image `{row['parent_id']}`"
    return "The picture of an address" if row["is_fetched"] else f"Upload `{row['upload_id']}`"
