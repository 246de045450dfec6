"""The provider book: what calls were made for an image, and what each of them brought and cost.

What belongs to an attempt is written whether or not the lease still holds: a paid fact is a fact. Nothing here needs
the job's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from safelight.db.statements import load
from safelight.domain.attempts import AttemptFact, AttemptStatus, NextStep, next_step
from safelight.domain.errors import ErrorKind
from safelight.domain.ids import AttemptId, ImageRowId
from safelight.domain.money import UNKNOWN_COST, Cost, CostBasis
from safelight.engine.accounts.accounts import Database
from safelight.engine.image.lease import Lease
from safelight.engine.image.outcome import AttemptEnd
from safelight.providers.provider import RemoteHandle
from safelight.storage.staging import Receipt

_ATTEMPTS = load("attempts")


async def attempt_facts(conn: Database, row_id: ImageRowId) -> list[AttemptFact]:
    """All attempts of an image, oldest first, as the re-send rule reads them."""
    return [
        AttemptFact(
            id=row["id"],
            run=row["run"],
            provider=row["provider"],
            model=row["model"],
            status=AttemptStatus(row["status"]),
            fingerprint=row["fingerprint"],
            unbilled_by_policy=row["unbilled_by_policy"],
            error_kind=ErrorKind(row["error_kind"]) if row["error_kind"] else None,
            resolve_at=row["resolve_at"],
            is_charged=row["is_charged"],
        )
        for row in await conn.fetch(_ATTEMPTS.attempts_of, row_id)
    ]


async def next_step_of(conn: Database, lease: Lease) -> NextStep:
    """What the image may do next, after booking the calls that can no longer answer."""
    await conn.execute(_ATTEMPTS.book_unknown_of, lease.row_id)
    facts = await attempt_facts(conn, lease.row_id)
    now = await database_now(conn)
    return next_step(
        facts,
        run=lease.run,
        provider=lease.provider,
        model=lease.model,
        fingerprint=lease.fingerprint,
        budget=lease.budget,
        now=now,
    )


async def database_now(conn: Database) -> datetime:
    """The only clock that decides anything between processes."""
    now: datetime | None = await conn.fetchval(_ATTEMPTS.now)
    assert now is not None
    return now


async def insert_receipt(conn: Database, receipt: Receipt) -> ImageRowId | None:
    """The attempt is `received`, at most once; None when it has its receipt already or was closed with proof."""
    kept = await insert_receipts(conn, [receipt])
    return kept[0] if kept else None


async def insert_receipts(conn: Database, receipts: Sequence[Receipt]) -> list[ImageRowId]:
    """The same for several attempts; the images of those that had none."""
    rows = await conn.fetch(
        _ATTEMPTS.receive,
        [receipt.attempt_id for receipt in receipts],
        [receipt.sha256 for receipt in receipts],
        [receipt.length for receipt in receipts],
        [receipt.cost_microusd for receipt in receipts],
        [receipt.cost_basis.value for receipt in receipts],
        [receipt.price_ref for receipt in receipts],
        [dict(receipt.usage) for receipt in receipts],
        [receipt.request_id for receipt in receipts],
    )
    return [row["image_row_id"] for row in rows]


async def keep_handle(pool: asyncpg.Pool, attempt_id: AttemptId, handle: RemoteHandle) -> None:
    """The call is a job of the vendor's now, which can be asked after from anywhere; no lease is needed for it.

    When the image is at another call by now, the handle is kept with the outcome unknown.
    """
    try:
        await pool.execute(_ATTEMPTS.keep_handle, attempt_id, handle.as_json())
    except asyncpg.UniqueViolationError:
        await pool.execute(_ATTEMPTS.note_handle, attempt_id, handle.as_json())


async def cost_of_attempt(conn: Database, attempt_id: str) -> Cost:
    """What the receipt of an attempt said that it cost."""
    row = await conn.fetchrow(_ATTEMPTS.cost_of_attempt, attempt_id)
    if row is None or row["cost_basis"] is None:
        return UNKNOWN_COST
    return Cost(row["cost_microusd"], CostBasis(row["cost_basis"]), row["price_ref"])


async def close_attempt(conn: asyncpg.Connection, attempt_id: str, end: AttemptEnd) -> None:
    """The attempt brought no picture; an attempt with a receipt is closed only as `no_image`."""
    await conn.execute(
        _ATTEMPTS.close_attempt,
        attempt_id,
        end.status.value,
        end.cost.microusd,
        end.cost.basis.value,
        end.cost.price_ref,
        dict(end.usage),
        end.error.kind.value,
        end.error.code,
        end.http_status,
        end.status is AttemptStatus.NO_IMAGE,
        end.unbilled_by_policy,
        end.request_id,
    )
