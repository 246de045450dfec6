"""Keys as rows: made, listed, revoked. What a request does with one is `engine.accounts.keyring`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.access import KeyScope
from safelight.domain.credits import Billing
from safelight.domain.errors import Fault, InvalidRequest, NotFound
from safelight.domain.ids import new_key_id
from safelight.domain.keys import KeyId, digest_of, is_key_id, new_key
from safelight.engine.accounts.accounts import ensure

_SQL = load("keys")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is known of a key, which is not the key. `last_used_at` is a minute old at most while it is in use."""

    id: KeyId
    account: str
    name: str | None
    scopes: Collection[KeyScope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


async def create_key(
    pool: asyncpg.Pool,
    *,
    account: str,
    scopes: Collection[KeyScope],
    name: str | None = None,
    expires_at: datetime | None = None,
    billing: Billing = Billing.NONE,
) -> tuple[Key, str]:
    """The key's row and the key, which nobody is shown again. Its account exists afterwards; a new one
    is billed this way.

    Raises InvalidRequest for an end that lies in the past.
    """
    key_id = new_key_id()
    key = new_key(key_id)
    named = [scope.value for scope in KeyScope if scope in scopes]
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        await ensure(conn, account, billing=billing)  # pyright: ignore[reportArgumentType]
        row = await conn.fetchrow(_SQL.insert_key, key_id, account, name, named, digest_of(key), expires_at)
        if row is None:
            why = "Must be a time that is still to come."
            raise InvalidRequest(why, faults=(Fault("/expires_at", why),))
    log.info("key created", key_id=key_id, account=account, scopes=named)
    return _key(row), key


async def keys_page(pool: asyncpg.Pool, *, account: str | None, before: str | None, limit: int) -> list[Key]:
    """Newest first, the revoked ones too; without an account those of all."""
    return [_key(row) for row in await pool.fetch(_SQL.keys_page, account, before, limit)]


async def revoke_key(pool: asyncpg.Pool, key_id: str) -> None:
    """Every process refuses the key within five seconds. Raises NotFound."""
    if not is_key_id(key_id) or await pool.fetchval(_SQL.revoke_key, key_id) is None:
        raise NotFound("There is no such key.")
    log.info("key revoked", key_id=key_id)


def _key(row: Mapping[str, Any]) -> Key:
    return Key(**{**row, "scopes": tuple(KeyScope(scope) for scope in row["scopes"])})
