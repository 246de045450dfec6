"""After the database was restored from a backup: what it does not know of was bought in the meantime.

Pictures that are still staged are recovered for free. For the others the store is asked whether a rendition of the
image lies there; what remains may be bought twice, and a person has to say so by resuming.
"""

from __future__ import annotations

import math
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from safelight.db.statements import load
from safelight.engine.pause import pause
from safelight.storage.blob_store import BlobStore
from safelight.storage.keys import row_id_of
from safelight.storage.staging import Staging

_SQL, _FEED = load("restore"), load("feed")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenImage:
    """An image that the restored database wants to buy. `has_picture`: the store holds one of it already."""

    job_id: str
    image_id: str
    estimate_microusd: int | None
    has_picture: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What was found. `recovered` pictures are used and not bought; each of `open_images` may be bought twice."""

    recovered: int
    open_images: tuple[OpenImage, ...]


async def after_restore(pool: asyncpg.Pool, staging: Staging, blobs: BlobStore) -> Restored:
    """Buying is paused, staged purchases are booked, what is still open is listed, and readers of the feed start again.

    Raises OSError when staging place or store do not answer: buying is paused then, and it can be asked again.
    """
    await pause(pool, reason="the database was restored from a backup")
    await pool.execute(_FEED.raise_feed_epoch)
    recovered = 0
    left_here = (await staging.bring_back()).stranded
    staged = [*await staging.pending(), *left_here]
    for receipt in staged:
        async with pool.acquire() as conn, conn.transaction():
            row_id = await conn.fetchval(
                _SQL.recover_attempt,
                receipt.attempt_id,
                receipt.image_row_id,
                receipt.job_id,
                receipt.fingerprint,
                datetime.fromisoformat(receipt.received_at),
                receipt.cost_microusd,
                receipt.cost_basis,
                receipt.price_ref,
                dict(receipt.usage),
                receipt.request_id,
                receipt.sha256,
                receipt.length,
            )
            if row_id is not None:
                await conn.execute(_SQL.count_recovered, row_id)
                recovered += 1
    rows = await pool.fetch(_SQL.open_images, [receipt.attempt_id for receipt in staged])
    prefixes = {row["storage_prefix"] or row["job_id"] for row in rows}
    pictured = {prefix: await _pictured(blobs, prefix) for prefix in prefixes}
    return Restored(
        recovered=recovered,
        open_images=tuple(
            OpenImage(
                job_id=row["job_id"],
                image_id=row["id"],
                estimate_microusd=row["estimate_microusd"],
                has_picture=row["row_id"] in pictured[row["storage_prefix"] or row["job_id"]],
            )
            for row in rows
        ),
    )


async def _pictured(blobs: BlobStore, prefix: str) -> set[int]:
    """The images of which the store holds any rendition below the prefix, also by a clock that is ahead of ours."""
    async with aclosing(blobs.keys(older_than_seconds=-math.inf, under=prefix)) as steps:
        return {row_id async for step in steps for each in step if (row_id := row_id_of(each.key))}
