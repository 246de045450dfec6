"""Pausing: nothing is bought anywhere in the installation, while what was bought already is finished."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from safelight.db.statements import load

_SQL = load("pause")


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause in force."""

    since: datetime
    reason: str


async def pause(pool: asyncpg.Pool, *, reason: str) -> None:
    """No paid call begins from now on: admission hands out none, and one that was handed out goes back."""
    await pool.execute(_SQL.pause, reason)


async def resume(pool: asyncpg.Pool) -> None:
    await pool.execute(_SQL.resume)


async def paused(pool: asyncpg.Pool | asyncpg.Connection) -> Pause | None:
    row = await pool.fetchrow(_SQL.paused)
    return None if row is None or row["paused_at"] is None else Pause(row["paused_at"], row["pause_reason"])
