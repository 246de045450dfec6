"""Who is told: an account's endpoints and their secrets. Every question is one account's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.delivery.webhooks.signing import new_secret
from safelight.delivery.webhooks.vault import Vault
from safelight.domain.errors import Conflict, NotFound
from safelight.domain.ids import EndpointId, new_endpoint_id

_SQL = load("webhooks")

DEFAULT = "default"
"""Stands for the secret that jobs' own addresses are signed with, where an endpoint's id would stand."""
OVERLAP_SECONDS = 86_400.0
MOST_ENDPOINTS = 100
"""Of one account: each is one more row for every event. Chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is sent where: `events` are the types wanted, None all; `retry_seconds` are pauses of the endpoint's own."""

    url: str
    events: Sequence[str] | None = None
    retry_seconds: Sequence[float] | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """As it stands. `job_id` where a job's request named it; `failing_since` its first failure since the last
    success."""

    id: EndpointId
    job_id: str | None
    url: str
    events: Sequence[str] | None
    retry_seconds: Sequence[float] | None
    description: str | None
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The new secret, shown this once; the one before it signs beside it until then, None: there was none."""

    secret: str = field(repr=False)
    previous_expires_at: datetime | None


class Endpoints:
    """Reads and changes them. Raises NotFound for another account's, and for those that are deleted."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault) -> None:
        self._pool = pool
        self._vault = vault

    async def create(self, terms: Terms, *, account: str) -> tuple[Endpoint, str]:
        """The endpoint and its secret, which nobody is shown again. Raises Conflict when there are too many."""
        endpoint_id, secret = new_endpoint_id(), new_secret()
        async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
            await conn.execute(_SQL.lock_secrets, account, None)  # one at a time, so that the count is right
            created = await conn.fetchval(
                _SQL.insert_endpoint,
                endpoint_id,
                account,
                terms.url,
                terms.events,
                terms.retry_seconds,
                terms.description,
                MOST_ENDPOINTS,
            )
            if created is None:
                raise Conflict(f"There are {MOST_ENDPOINTS} webhooks, which is the most.", slug="too-many-webhooks")
            await conn.execute(_SQL.insert_secret, account, endpoint_id, self._vault.seal(secret))
        return await self.one(endpoint_id, account=account), secret

    async def all(self, *, account: str) -> list[Endpoint]:
        """Oldest first, without those of single jobs."""
        return [Endpoint(**row) for row in await self._pool.fetch(_SQL.endpoints, account)]

    async def one(self, endpoint_id: str, *, account: str) -> Endpoint:
        row = await self._pool.fetchrow(_SQL.endpoint, account, endpoint_id)
        if row is None:
            raise _no_such_endpoint()
        return Endpoint(**row)

    async def change(
        self, endpoint_id: str, terms: Terms | Callable[[Endpoint], Terms], *, account: str, enable: bool
    ) -> Endpoint:
        """`terms` may be worked out of what it is now, which nobody else changes meanwhile. With `enable` it is told
        again of what happens from now on, if it was not."""
        async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
            if await conn.fetchrow(_SQL.lock_endpoint, account, endpoint_id) is None:
                raise _no_such_endpoint()
            if not isinstance(terms, Terms):
                terms = terms(Endpoint(**await conn.fetchrow(_SQL.endpoint, account, endpoint_id)))
            await conn.fetchval(
                _SQL.change_endpoint,
                account,
                endpoint_id,
                terms.url,
                terms.events,
                terms.retry_seconds,
                terms.description,
                enable,
            )
        return await self.one(endpoint_id, account=account)

    async def delete(self, endpoint_id: str, *, account: str) -> None:
        """Nothing more is sent there; what waits is given up, and its messages stay in the list."""
        if await self._pool.fetchval(_SQL.delete_endpoint, account, endpoint_id) is None:
            raise _no_such_endpoint()

    async def rotate(self, endpoint_id: str, *, account: str, overlap_seconds: float = OVERLAP_SECONDS) -> Rotated:
        """A new secret signs from now on, and the one before it for another `overlap_seconds`; an older one no more.

        `default` is the account's. Raises Conflict for a job's own address, which has none of its own.
        """
        secret = new_secret()
        of_endpoint = None if endpoint_id == DEFAULT else endpoint_id
        async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
            if of_endpoint is not None:
                endpoint = await conn.fetchrow(_SQL.lock_endpoint, account, of_endpoint)
                if endpoint is None:
                    raise _no_such_endpoint()
                if endpoint["job_id"] is not None:
                    raise Conflict("A job's own webhook is signed with the secret of `default`; rotate that.")
            await conn.execute(_SQL.lock_secrets, account, of_endpoint)
            await conn.execute(_SQL.drop_expiring_secret, account, of_endpoint)
            expires_at = await conn.fetchval(_SQL.expire_secret, account, of_endpoint, overlap_seconds)
            await conn.execute(_SQL.put_secret, account, of_endpoint, self._vault.seal(secret))
        return Rotated(secret=secret, previous_expires_at=expires_at)


def _no_such_endpoint() -> NotFound:
    return NotFound("There is no such webhook.")
