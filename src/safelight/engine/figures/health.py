"""How providers have answered of late, from the book of their calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load

MAX_CALLS = 1000
"""Of each provider, the newest: so many are looked at. Chosen."""

_SQL = load("health")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`successes` brought a picture, `failures` none and no refusal, both of the last hour; `median_seconds` is what
    the former took. None: there was no such call."""

    last_success_at: datetime | None
    last_failure_at: datetime | None
    successes: int
    failures: int
    median_seconds: float | None


async def health_of(
    pool: asyncpg.Pool, providers: Collection[str], *, account: str | None = None
) -> Mapping[str, Health]:
    """By provider, of each one that was asked for: as the calls for one account went, or those for all."""
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn:
        rows = await conn.fetch(_SQL.health_of_providers, list(providers), MAX_CALLS, account)
    return {row["name"]: Health(**{field: row[field] for field in Health.__dataclass_fields__}) for row in rows}
