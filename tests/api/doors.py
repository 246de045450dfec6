"""Keys for tests of who may do what, and a client that calls with one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from datetime import datetime

import asyncpg
import httpx2

from safelight.domain.access import KeyScope
from safelight.engine.accounts.keys import create_key


async def key_for(
    pool: asyncpg.Pool, account: str, *scopes: KeyScope, expires_at: datetime | None = None
) -> tuple[str, str]:
    """The key, and its id. Without scopes it may read and submit."""
    made, key = await create_key(
        pool, account=account, scopes=scopes or (KeyScope.READ, KeyScope.SUBMIT), expires_at=expires_at
    )
    return key, made.id


async def admin_key(pool: asyncpg.Pool) -> str:
    key, _ = await key_for(pool, "default", KeyScope.ADMIN)
    return key


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def as_caller(client: httpx2.AsyncClient, key: str) -> AbstractAsyncContextManager[httpx2.AsyncClient]:
    """Another client of the same service."""
    return httpx2.AsyncClient(base_url=client.base_url, timeout=30, headers=bearer(key))
