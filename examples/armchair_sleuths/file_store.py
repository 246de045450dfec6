"""The store in one file, for a game on one machine: SQLite keeps it whole, whatever crashes."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TABLE = """
CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT NOT NULL, expires_at REAL) WITHOUT ROWID
"""
_INDEX = "CREATE INDEX IF NOT EXISTS entries_expiring ON entries (expires_at) WHERE expires_at IS NOT NULL"
_GET = "SELECT value FROM entries WHERE key = :key AND (expires_at IS NULL OR expires_at > :now)"
_PUT = """
INSERT INTO entries VALUES (:key, :value, :expires_at)
ON CONFLICT (key) DO UPDATE SET value = :value, expires_at = :expires_at
"""
_SWAP = """
UPDATE entries SET value = :new, expires_at = NULL
WHERE key = :key AND value = :old AND (expires_at IS NULL OR expires_at > :now)
"""
_ADD = """
INSERT INTO entries VALUES (:key, :new, NULL)
ON CONFLICT (key) DO UPDATE SET value = :new, expires_at = NULL WHERE expires_at <= :now
"""
_FORGET = "DELETE FROM entries WHERE expires_at <= :now"
_BUSY_SECONDS = 10.0


class FileStore:
    """Other processes may use the same file. `now` is the clock that times to live are measured by."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._now = now
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(_TABLE)
        self._db.execute(_INDEX)

    async def get(self, key: str) -> str | None:
        row = await asyncio.to_thread(self._first, _GET, key=key)
        return row[0] if row else None

    async def put(self, key: str, value: str, *, ttl_seconds: int | None = None) -> None:
        expires_at = None if ttl_seconds is None else self._now() + ttl_seconds
        await asyncio.to_thread(self._count, _PUT, key=key, value=value, expires_at=expires_at)
        if ttl_seconds is not None:
            await asyncio.to_thread(self._count, _FORGET)

    async def swap(self, key: str, old: str | None, new: str) -> bool:
        statement = _ADD if old is None else _SWAP
        return await asyncio.to_thread(self._count, statement, key=key, old=old, new=new) == 1

    async def aclose(self) -> None:
        with self._lock:
            self._db.close()

    def _first(self, statement: str, **values: Any) -> Any:
        with self._lock:
            return self._db.execute(statement, {**values, "now": self._now()}).fetchone()

    def _count(self, statement: str, **values: Any) -> int:
        with self._lock:
            return self._db.execute(statement, {**values, "now": self._now()}).rowcount
