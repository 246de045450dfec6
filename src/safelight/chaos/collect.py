"""Collects evidence: the books out of a database, and what a store holds, told from its bytes."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from PIL import Image as Decoder

from safelight.chaos.evidence import FILES, Sighting, StoredObject, write_lines
from safelight.db.statements import load
from safelight.storage.blob_store import BlobMissing, BlobStore
from safelight.storage.place import BucketPlace, Folder
from safelight.storage.staging import Staging
from safelight.storage.stores import open_blobs

_SQL = load("evidence")


async def collect_books(dsn: str, folder: Path) -> None:
    """Every book of the database at one moment. Raises what asyncpg raises."""
    async with _one_moment(dsn) as connection:
        for name, statement in _SQL.items():
            rows = await connection.fetch(statement)
            kind = FILES[name]
            write_lines(folder / f"{name}.jsonl", [kind(**row) for row in rows])


async def collect_store(place: Folder | BucketPlace, folder: Path) -> None:
    """Every object of the store, read whole and decoded. Raises OSError and StorageUnusable."""
    write_lines(folder / "objects.jsonl", await list_store(open_blobs(place)))


async def list_store(blobs: BlobStore) -> list[StoredObject]:
    """By key. What goes while this looks is left out. Raises OSError."""
    found = []
    async for some in blobs.keys(older_than_seconds=0):
        for each in some:
            try:
                data = await blobs.get(each.key)
            except BlobMissing:
                continue
            mime = await asyncio.to_thread(decoded_mime, data)
            found.append(
                StoredObject(
                    key=each.key,
                    length=len(data),
                    sha256=hashlib.sha256(data).hexdigest(),
                    mime=mime,
                    put_at=each.put_at,
                )
            )
    return sorted(found, key=lambda each: each.key)


async def sightings(staging: Staging) -> list[Sighting]:
    """What lies staged. Raises OSError."""
    receipts = await staging.pending()
    now = datetime.now(UTC)
    return [Sighting(at=now, attempt_id=receipt.attempt_id) for receipt in receipts]


def decoded_mime(data: bytes) -> str | None:
    """What these bytes are, when every row of them decodes; by another decoder than the one that made them."""
    try:
        with Decoder.open(io.BytesIO(data)) as picture:
            picture.load()
            return Decoder.MIME.get(picture.format or "")
    except (OSError, ValueError, SyntaxError, Decoder.DecompressionBombError):
        return None


@asynccontextmanager
async def _one_moment(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "safelight"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close()
