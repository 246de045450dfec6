"""What a process sees of the database."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg


@dataclass(frozen=True, slots=True, kw_only=True)
class Databases:
    """One database, seen three ways: our values, dispatch's own JSON, and a connection for beats by `dsn`."""

    dsn: str
    pool: asyncpg.Pool
    queue: asyncpg.Pool
