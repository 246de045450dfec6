"""What was sent, what was not, and sending it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from safelight.db.statements import load
from safelight.domain.errors import Conflict, NotFound

_SQL = load("webhooks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message and what became of it. `due_at` is the next attempt's, of one that is `pending`; `error` is why the
    latest one failed, `reply` the beginning of what the receiver answered it."""

    id: int
    message_id: str
    endpoint_id: str
    type: str
    job_id: str | None
    seq: int | None
    status: str
    attempt_count: int
    created_at: datetime
    due_at: datetime | None
    attempted_at: datetime | None
    delivered_at: datetime | None
    http_status: int | None
    error: str | None
    reply: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which of an account's messages: those that meet all of it."""

    account: str
    endpoint_id: str | None = None
    job_id: str | None = None
    status: str | None = None


async def page(pool: asyncpg.Pool, wanted: Wanted, *, before: int | None, limit: int) -> list[Delivery]:
    """Newest first; those before the message with that `id`."""
    rows = await pool.fetch(
        _SQL.deliveries, wanted.account, before, wanted.endpoint_id, wanted.job_id, wanted.status, limit
    )
    return [Delivery(**row) for row in rows]


async def one(pool: asyncpg.Pool, message_id: str, *, account: str) -> Delivery:
    """Raises NotFound."""
    row = await pool.fetchrow(_SQL.delivery, account, message_id)
    if row is None:
        raise NotFound("There is no such delivery.")
    return Delivery(**row)


async def redeliver(pool: asyncpg.Pool, message_id: str, *, account: str) -> Delivery:
    """It is sent again under its own id, at once, and as often as if it were new; what is behind it in its lane waits.

    Raises NotFound, and Conflict when its endpoint is disabled or deleted.
    """
    delivery = await one(pool, message_id, account=account)
    if await pool.fetchval(_SQL.redeliver, delivery.id, account) is None:
        raise _closed()
    return await one(pool, message_id, account=account)


async def send_test(pool: asyncpg.Pool, endpoint_id: str, *, account: str) -> Delivery:
    """A message that says nothing is on its way to the endpoint. Raises Conflict when that is disabled or deleted."""
    message_id = await pool.fetchval(_SQL.post_test, account, endpoint_id)
    if message_id is None:
        raise _closed()
    return await one(pool, message_id, account=account)


def _closed() -> Conflict:
    return Conflict("The webhook is disabled or deleted.", slug="endpoint-disabled")
