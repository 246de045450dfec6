"""What the studio itself remembers: who its users are, what they uploaded and what they ordered. No balance: tokens are
in Safelight's books alone.

SQLite in one thread. What a method has written is on the disk when it returns.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_TABLES = """
CREATE TABLE IF NOT EXISTS users (
    id             TEXT PRIMARY KEY,     -- of the account at Safelight, too
    name           TEXT NOT NULL,
    token_sha256   TEXT NOT NULL UNIQUE,
    webhook_secret TEXT NOT NULL,        -- that Safelight signs this account's messages with
    created_at     TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS photos (
    user_id    TEXT NOT NULL REFERENCES users,
    upload_id  TEXT NOT NULL,            -- at Safelight, which keeps the picture
    kind       TEXT NOT NULL CHECK (kind IN ('product', 'person')),
    name       TEXT NOT NULL,
    width_px   INTEGER NOT NULL,
    height_px  INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (user_id, upload_id, kind)
) STRICT;
CREATE TABLE IF NOT EXISTS generations (
    id          TEXT PRIMARY KEY,        -- ascending in time
    user_id     TEXT NOT NULL REFERENCES users,
    request_key TEXT NOT NULL,
    wish        TEXT NOT NULL,
    body        TEXT NOT NULL,           -- what is sent to Safelight, the same however often
    job_id      TEXT,                    -- NULL: whether Safelight has it is not known yet
    status      TEXT NOT NULL DEFAULT 'pending'
                CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    standing    TEXT,                    -- how it stood when the studio last looked
    seq         INTEGER NOT NULL DEFAULT 0, -- of the newest event in that
    told_seq    INTEGER NOT NULL DEFAULT 0, -- of the newest event that a webhook told
    is_settled  INTEGER NOT NULL DEFAULT 0, -- it has ended, and none of its tokens are held any more
    problem     TEXT,                    -- why Safelight did not take it
    created_at  TEXT NOT NULL,
    UNIQUE (user_id, request_key)
) STRICT;
CREATE INDEX IF NOT EXISTS generations_of_user ON generations (user_id, id);
CREATE INDEX IF NOT EXISTS generations_open ON generations (id) WHERE status IN ('pending', 'processing');
CREATE INDEX IF NOT EXISTS generations_told ON generations (id) WHERE told_seq > seq;
"""


_NO_FILTERS: dict[str, str | int | None] = {"status": None, "style": None, "model": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: str
    name: str
    webhook_secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    upload_id: str
    kind: str
    name: str
    width_px: int
    height_px: int
    created_at: str
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One order. `standing` is how it stood at the last look; None: it was not looked at yet."""

    id: str
    user_id: str
    request_key: str
    wish: Mapping[str, Any]
    body: str
    job_id: str | None
    status: str
    standing: Mapping[str, Any] | None
    seq: int
    told_seq: int
    is_settled: bool
    problem: Mapping[str, Any] | None
    created_at: str

    @property
    def is_open(self) -> bool:
        return self.status in ("pending", "processing")

    @property
    def is_stale(self) -> bool:
        """Whether a look at Safelight may show more than what is remembered."""
        return self.job_id is not None and (not self.is_settled or self.told_seq > self.seq)


class Store:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._db = self._thread.submit(_opened, folder / "studio.sqlite3").result()

    def close(self) -> None:
        self._thread.submit(self._db.close).result()
        self._thread.shutdown()

    async def add_user(self, user: User, *, token_sha256: str) -> None:
        row = (user.id, user.name, token_sha256, user.webhook_secret, _now())
        await self._write("INSERT INTO users VALUES (?, ?, ?, ?, ?)", *row)

    async def user_of_token(self, token_sha256: str) -> User | None:
        rows = await self._read("SELECT id, name, webhook_secret FROM users WHERE token_sha256 = ?", token_sha256)
        return User(**dict(rows[0])) if rows else None

    async def user(self, user_id: str) -> User | None:
        rows = await self._read("SELECT id, name, webhook_secret FROM users WHERE id = ?", user_id)
        return User(**dict(rows[0])) if rows else None

    async def add_photo(self, user_id: str, photo: Photo) -> None:
        """The same picture again is the same photo, with its later name and expiry."""
        await self._write(
            "INSERT INTO photos VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user_id, upload_id, kind)"
            " DO UPDATE SET name = excluded.name, expires_at = excluded.expires_at, created_at = excluded.created_at",
            *(user_id, photo.upload_id, photo.kind, photo.name, photo.width_px, photo.height_px),
            *(photo.created_at, photo.expires_at),
        )

    async def photos(self, user_id: str) -> list[Photo]:
        """Those that Safelight still keeps, newest first."""
        rows = await self._read(
            "SELECT upload_id, kind, name, width_px, height_px, created_at, expires_at FROM photos"
            " WHERE user_id = ? AND expires_at > ? ORDER BY created_at DESC LIMIT 100",
            *(user_id, _now()),
        )
        return [Photo(**dict(row)) for row in rows]

    async def add_generation(self, generation: Generation) -> None:
        """It is remembered under its user's request key, before anybody else hears of it."""
        await self._write(
            "INSERT INTO generations (id, user_id, request_key, wish, body, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            *(generation.id, generation.user_id, generation.request_key),
            *(json.dumps(generation.wish), generation.body, generation.created_at),
        )

    async def generation(self, generation_id: str) -> Generation | None:
        rows = await self._read("SELECT * FROM generations WHERE id = ?", generation_id)
        return _generation(rows[0]) if rows else None

    async def generation_of_key(self, user_id: str, request_key: str) -> Generation | None:
        rows = await self._read(
            "SELECT * FROM generations WHERE user_id = ? AND request_key = ?", *(user_id, request_key)
        )
        return _generation(rows[0]) if rows else None

    async def generations(
        self, user_id: str, *, before: str | None, limit: int, filters: dict[str, str | None]
    ) -> list[Generation]:
        """The newest before one. Filters that are None are met by all: `status`, and `style` and `model` as wished."""
        rows = await self._read(
            "SELECT * FROM generations WHERE user_id = :user AND (:before IS NULL OR id < :before)"
            " AND (:status IS NULL OR status = :status) AND (:style IS NULL OR wish ->> 'style' = :style)"
            " AND (:model IS NULL OR wish ->> 'model' = :model) ORDER BY id DESC LIMIT :limit",
            _NO_FILTERS | filters | {"user": user_id, "before": before, "limit": limit},
        )
        return [_generation(row) for row in rows]

    async def unfinished(self, *, only_told: bool) -> list[Generation]:
        """What is to be sent or looked at, oldest first; `only_told`: of which a webhook has told something new."""
        told = "told_seq > seq"
        where = told if only_told else f"status IN ('pending', 'processing') OR {told}"
        return [_generation(row) for row in await self._read(f"SELECT * FROM generations WHERE {where} ORDER BY id")]  # noqa: S608

    async def sent(self, generation_id: str, job_id: str) -> None:
        """Safelight has it. That is so whatever was thought before."""
        await self._write(
            "UPDATE generations SET job_id = ?, problem = NULL WHERE id = ? AND job_id IS NULL",
            *(job_id, generation_id),
        )

    async def looked(
        self, generation_id: str, *, status: str, seq: int, standing: Mapping[str, Any], is_settled: bool
    ) -> None:
        """How it stands by now, unless somebody else has seen something newer meanwhile."""
        await self._write(
            "UPDATE generations SET status = ?, seq = ?, standing = ?, is_settled = ? WHERE id = ? AND seq <= ?",
            *(status, seq, json.dumps(standing), is_settled, generation_id, seq),
        )

    async def told(self, generation_id: str, seq: int) -> None:
        """A webhook has told of an event; how things stand is still to be looked at."""
        await self._write("UPDATE generations SET told_seq = max(told_seq, ?) WHERE id = ?", *(seq, generation_id))

    async def refused(self, generation_id: str, problem: Mapping[str, Any]) -> None:
        """Safelight does not take it; nothing was created there."""
        await self._write(
            "UPDATE generations SET status = 'failed', problem = ?"
            " WHERE id = ? AND job_id IS NULL AND status = 'pending'",
            *(json.dumps(problem), generation_id),
        )

    async def reopen(self, generation_id: str) -> None:
        """What Safelight did not take is to be sent again."""
        await self._write(
            "UPDATE generations SET status = 'pending', problem = NULL"
            " WHERE id = ? AND job_id IS NULL AND status = 'failed'",
            generation_id,
        )

    async def forget(self, generation_id: str) -> None:
        """An order that was refused before its user had heard of it was never there."""
        await self._write("DELETE FROM generations WHERE id = ? AND job_id IS NULL", generation_id)

    async def _read(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        parameters = values[0] if values and isinstance(values[0], dict) else values
        return await self._in_thread(lambda: self._db.execute(sql, parameters).fetchall())

    async def _write(self, sql: str, *values: Any) -> None:
        await self._in_thread(lambda: self._db.execute(sql, values))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def new_generation(
    user_id: str, request_key: str, wish: Mapping[str, Any], *, body_of: Callable[[str], Any]
) -> Generation:
    """One that nobody knows of yet; `body_of` its id is what Safelight will be sent."""
    generation_id = f"gen_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"
    return Generation(
        id=generation_id,
        user_id=user_id,
        request_key=request_key,
        wish=wish,
        body=json.dumps(body_of(generation_id)),
        job_id=None,
        status="pending",
        standing=None,
        seq=0,
        told_seq=0,
        is_settled=False,
        problem=None,
        created_at=_now(),
    )


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)  # each statement is its own transaction
    db.row_factory = sqlite3.Row
    db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; {_TABLES}")
    return db


def _generation(row: sqlite3.Row) -> Generation:
    fields: dict[str, Any] = dict(row)
    for name in ("wish", "standing", "problem"):
        fields[name] = json.loads(fields[name]) if fields[name] is not None else None
    fields["is_settled"] = bool(fields["is_settled"])
    return Generation(**fields)


def _now() -> str:
    """In ISO 8601 with its offset, so that texts compare like times."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
