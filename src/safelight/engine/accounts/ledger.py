"""The customer's book: what was paid in, and a statement of everything that came of it.

Holds, captures and releases are entered by what moves images (`charge`, migration 0016); here is the rest. Entries are
only ever added.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import asyncpg

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.credits import Billing
from safelight.domain.errors import Conflict, InvalidRequest
from safelight.engine.accounts.accounts import Database, account_of

_SQL = load("ledger")
_CHARGE = load("charge")


class EntryKind(StrEnum):
    TOP_UP = "top_up"
    """The account paid in."""
    ADJUSTMENT = "adjustment"
    """Given or taken back for a reason, such as a refund."""
    HOLD = "hold"
    CAPTURE = "capture"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One transfer out of the book `debit` into the book `credit`, and what was in two of the books after it. A hold's
    entries name its picture."""

    id: int
    at: datetime
    currency: Billing
    kind: EntryKind
    debit: str
    credit: str
    amount: int
    available_after: int
    held_after: int
    reason: str | None
    job_id: str | None
    image_id: str | None
    run: int | None


async def add_credit(
    pool: asyncpg.Pool,
    account_id: str,
    amount: int,
    *,
    billing: Billing | None = None,
    kind: EntryKind,
    reason: str | None,
    idempotency_key: str | None,
) -> tuple[Entry, bool]:
    """The entry of a top-up or an adjustment, and whether it had been made before under the same key. The amount is in
    what the account is billed in, which has to be `billing` still, if that is given; one below 0 takes back.

    Raises NotFound; Conflict (`account-not-billed`) for one that pays nothing, (`insufficient-balance`) when less is
    available than is taken back; InvalidRequest (`idempotency-key-reused`) when the key was for something else, and
    when the account is billed otherwise by now.
    """
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        await conn.execute(_CHARGE.take_account, account_id)
        account = await account_of(conn, account_id)  # pyright: ignore[reportArgumentType]
        if idempotency_key is not None:
            earlier = await conn.fetchrow(_SQL.entry_of_key, account_id, idempotency_key)
            if earlier is not None:
                if _terms(earlier) != (kind.value, amount, reason):
                    raise InvalidRequest(
                        "This Idempotency-Key was used for a different request.", slug="idempotency-key-reused"
                    )
                return await _entry(conn, earlier["id"]), True  # pyright: ignore[reportArgumentType]
        if account.billing is Billing.NONE:
            raise Conflict(f"Account `{account_id}` is not billed.", slug="account-not-billed")
        if billing is not None and account.billing is not billing:
            raise InvalidRequest(f"Account `{account_id}` is billed in {account.billing.value} by now.")
        await conn.execute(_CHARGE.open_books, account_id, account.billing.value)
        entry_id = await conn.fetchval(
            _SQL.add_credit, account_id, account.billing.value, kind.value, amount, reason, idempotency_key
        )
        if entry_id is None:
            raise Conflict(f"Account `{account_id}` has less than that.", slug="insufficient-balance")
        return await _entry(conn, entry_id), False  # pyright: ignore[reportArgumentType]


async def statement(
    conn: Database, account_id: str, *, job_id: str | None = None, before: int | None, limit: int
) -> list[Entry]:
    """Newest first; with a job, what was entered for its pictures. Raises NotFound for an account that is not there."""
    await account_of(conn, account_id)
    if job_id is None:
        rows = await conn.fetch(_SQL.statement, account_id, before, limit)
    else:
        rows = await conn.fetch(_SQL.statement_of_job, account_id, before, limit, job_id)
    return [_read(row) for row in rows]


def _terms(row: asyncpg.Record) -> tuple[str, int, str | None]:
    return row["kind"], row["amount"] if row["debit"] == "outside" else -row["amount"], row["reason"]


async def _entry(conn: Database, entry_id: int) -> Entry:
    row = await conn.fetchrow(_SQL.entry, entry_id)
    assert row is not None
    return _read(row)


def _read(row: asyncpg.Record) -> Entry:
    return Entry(**{**row, "currency": Billing(row["currency"]), "kind": EntryKind(row["kind"])})
