"""What is forgotten: the logs of jobs that ended long ago, and blobs that nothing names."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
import structlog

from safelight.db.pool import ASIDE_SECONDS
from safelight.db.statements import load
from safelight.domain.ids import JobId
from safelight.engine.image.journal import locked_job
from safelight.storage.blob_store import BlobStore, StoredKey
from safelight.storage.keys import MARKER, markers_above, row_id_of

_SQL = load("retention")

ORPHAN_SECONDS = 86_400.0
"""A blob that nothing names is left alone for as long: whoever stored it may be about to say so. Chosen."""

_EVENTS_AT_ONCE = 2000
_BETWEEN_WALKS_SECONDS = 55 * 60.0
_BREATH_SECONDS = 0.01
"""Between two steps of a walk, for whoever else uses the disk. Chosen."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """What a walk through the store found among blobs that are old enough.

    `strangers` are named by nothing and kept, because the database does not know their images: it may have been
    restored from before them, or they are another installation's. `kept` are named by nothing and in use, or put again
    just then, or buying is paused.
    """

    blobs: int = 0
    deleted: int = 0
    kept: int = 0
    strangers: int = 0


async def forget_events(pool: asyncpg.Pool, *, older_than: timedelta) -> int:
    """How many events were forgotten, of jobs that ended and whose newest event is that old. Each log from its front,
    a bounded number in all: the next sweep goes on. What is left of a log has no gap."""
    return await pool.fetchval(_SQL.forget_events, older_than, _EVENTS_AT_ONCE) or 0


async def delete_orphans(
    pool: asyncpg.Pool, blobs: BlobStore, *, older_than_seconds: float = ORPHAN_SECONDS
) -> Walked | None:
    """Blobs are gone that no rendition names and that nobody can be about to name; None when it is not time, or
    another process walks.

    A blob belongs to an image by its key. It is deleted while the image's job is locked, and only if the image has
    ended: to use the blob somebody has to open the image again, which needs that lock, and stores the blob before
    saying so. So whoever does finds it absent and writes it again. Files whose names are no keys of ours are not
    touched, and nothing is deleted while buying is paused: a restored database may be being compared with its store.
    """
    if not await pool.fetchval(_SQL.take_turn_at_walking, _BETWEEN_WALKS_SECONDS):
        return None
    found = Walked()
    async with aclosing(blobs.keys(older_than_seconds=older_than_seconds)) as steps:
        async for step in steps:
            found = _sum(found, await _clear(pool, blobs, step, older_than_seconds=older_than_seconds))
            await asyncio.sleep(_BREATH_SECONDS)
    if found.deleted or found.kept or found.strangers:
        log.info(
            "blobs that nothing names",
            blobs=found.blobs,
            deleted=found.deleted,
            kept=found.kept,
            strangers=found.strangers,
        )
    return found


async def _clear(
    pool: asyncpg.Pool, blobs: BlobStore, step: Sequence[StoredKey], *, older_than_seconds: float
) -> Walked:
    ours = [(stored.key, row_id, stored.put_at) for stored in step if (row_id := row_id_of(stored.key)) is not None]
    unnamed = await pool.fetch(_SQL.unnamed_blobs, *map(list, zip(*ours, strict=True))) if ours else []
    known = [row for row in unnamed if row["job_id"] is not None]
    elsewhere = await _stores_below(blobs, [row["key"] for row in known])
    orphans = [row for row in known if not row["key"].startswith(elsewhere)]
    deleted = 0
    for row in orphans:
        deleted += await _delete(
            pool, blobs, row["job_id"], row["row_id"], row["key"], older_than_seconds=older_than_seconds
        )
    return Walked(blobs=len(ours), deleted=deleted, kept=len(orphans) - deleted, strangers=len(unnamed) - len(orphans))


async def _stores_below(blobs: BlobStore, keys: Sequence[str]) -> tuple[str, ...]:
    """What those keys begin with that lie in another store, with a folder below ours: it names them as we would."""
    markers = {marker for key in keys for marker in markers_above(key)}
    return tuple([marker.removesuffix(MARKER) for marker in markers if await blobs.head(marker) is not None])


async def _delete(
    pool: asyncpg.Pool, blobs: BlobStore, job_id: JobId, row_id: int, key: str, *, older_than_seconds: float
) -> bool:
    try:
        async with locked_job(pool, job_id) as (conn, job):
            if job.is_paused or not await conn.fetchval(_SQL.is_orphan, row_id, key):
                return False
            async with asyncio.timeout(ASIDE_SECONDS):
                return await blobs.delete_old(key, older_than_seconds=older_than_seconds)
    except asyncpg.LockNotAvailableError:
        return False


def _sum(one: Walked, other: Walked) -> Walked:
    return Walked(
        blobs=one.blobs + other.blobs,
        deleted=one.deleted + other.deleted,
        kept=one.kept + other.kept,
        strangers=one.strangers + other.strangers,
    )
