"""Paid bytes that one host alone holds, because the bucket was away: noted, waited for, and brought back.

Each worker sees to its own host, beside the sweep, which any worker may do for all.
"""

from __future__ import annotations

from contextlib import suppress

import asyncpg
import structlog

from safelight.db.statements import load
from safelight.domain.attempts import AttemptStatus
from safelight.engine.image.provider_book import insert_receipt
from safelight.engine.timing import Timing
from safelight.storage.staging import Receipt, Staging

_SQL, _SWEEP, _SETTLE = load("stranded"), load("sweep"), load("settle")

_UNANSWERED = (AttemptStatus.SENT, AttemptStatus.SUBMITTED, AttemptStatus.UNKNOWN)

log = structlog.get_logger(__name__)


async def note_stranded(pool: asyncpg.Pool, receipt: Receipt, *, only_in: str) -> None:
    """The picture is a paid fact, and the folder of one host is where it is found: nobody else takes it for lost."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.fetchval(_SQL.note_stranded, receipt.attempt_id, only_in)
        await insert_receipt(conn, receipt)  # pyright: ignore[reportArgumentType]


async def is_stranded(pool: asyncpg.Pool, attempt_id: str) -> bool:
    return bool(await pool.fetchval(_SQL.is_stranded, attempt_id))


async def bring_back(pool: asyncpg.Pool, staging: Staging, *, timing: Timing) -> int:
    """What this host alone held is where every worker finds it, and how much that was. While the bucket is away, the
    database at least knows of it, unless its owner is about to say so itself."""
    found = await staging.bring_back()
    for row in await pool.fetch(_SQL.note_brought_back, list(found.moved)) if found.moved else ():
        await pool.fetchval(_SETTLE.hasten, row["image_row_id"])
    if found.stranded:
        await _note(pool, staging, found.stranded, here=found.here, timing=timing)
    return len(found.moved)


async def _note(
    pool: asyncpg.Pool, staging: Staging, receipts: tuple[Receipt, ...], *, here: str, timing: Timing
) -> None:
    """What was of use is noted, and what no image will be made from any more is removed."""
    ids = [receipt.attempt_id for receipt in receipts]
    attempts = {row["id"]: row for row in await pool.fetch(_SWEEP.attempts_of_receipts, ids, timing.lease_seconds)}
    for receipt in receipts:
        attempt = attempts.get(receipt.attempt_id)
        if attempt is None or attempt["in_hand"]:
            continue
        is_wanted = attempt["status"] == AttemptStatus.RECEIVED and attempt["is_needed"]
        if is_wanted or attempt["status"] in _UNANSWERED:
            await note_stranded(pool, receipt, only_in=here)
        else:
            with suppress(OSError):
                await staging.discard(receipt.attempt_id)
