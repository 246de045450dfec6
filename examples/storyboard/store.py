"""What the app itself must not forget: which jobs it has promised, and what it last knew of each.

SQLite in one thread of its own. What a method changes is committed and on the disk when it returns; those that move
a job on name the state that it has to be in.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id              TEXT PRIMARY KEY,
    idempotency_key TEXT UNIQUE,
    request         TEXT NOT NULL,
    fingerprint     TEXT NOT NULL,
    project         TEXT NOT NULL,
    branch          TEXT NOT NULL,
    scene           TEXT,
    shot            TEXT,
    state           TEXT NOT NULL,
    body            TEXT,
    refusal         TEXT,
    safelight_id    TEXT UNIQUE,
    document        TEXT,
    seq             INTEGER NOT NULL DEFAULT 0,
    is_live         INTEGER NOT NULL DEFAULT 1,
    seen_at         REAL NOT NULL DEFAULT 0,
    created_at      TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_place ON jobs (project, branch, scene, shot);
CREATE TABLE IF NOT EXISTS news (safelight_id TEXT PRIMARY KEY, seq INTEGER NOT NULL);
"""
_ENTRY = """
SELECT jobs.*, coalesce(news.seq, 0) > jobs.seq AS has_news
FROM jobs LEFT JOIN news ON news.safelight_id = jobs.safelight_id
"""


class State(StrEnum):
    """How far the handing over to Safelight has got; how far the pictures are is in the document."""

    SAVED = "saved"  # promised, and nothing has been sent
    SENDING = "sending"  # may have arrived, or not: it is sent again, the same under the same key
    SUBMITTED = "submitted"  # Safelight has it
    REFUSED = "refused"  # Safelight does not take it
    CANCELED = "canceled"  # before anything was sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A job of this app. `fingerprint` is its client's request's; `document` is Safelight's job as last seen,
    at `seen_at` in Unix seconds.

    `has_news`: a webhook told of something that the document does not show yet.
    """

    id: str
    idempotency_key: str | None
    request: dict[str, Any]
    fingerprint: str
    state: State
    body: dict[str, Any] | None
    refusal: dict[str, Any] | None
    safelight_id: str | None
    document: dict[str, Any] | None
    is_live: bool
    has_news: bool
    seen_at: float
    created_at: str


class Store:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {_SCHEMA}")

    async def close(self) -> None:
        await self._in_thread(self._db.close)
        self._thread.shutdown()

    async def save(self, job_id: str, request: dict[str, Any], *, key: str | None, fingerprint: str) -> Entry:
        """The job that the key stands for: this one, or the one that was saved under it before."""
        insert = (
            "INSERT INTO jobs"
            " (id, idempotency_key, request, fingerprint, project, branch, scene, shot, state, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'saved', ?) ON CONFLICT (idempotency_key) DO NOTHING"
        )
        place = [request[name] for name in ("project_id", "branch_id", "scene_id", "shot_id")]
        created_at = datetime.now(UTC).isoformat(timespec="milliseconds")

        def save() -> sqlite3.Row:
            self._db.execute(insert, (job_id, key, json.dumps(request), fingerprint, *place, created_at))
            return self._db.execute(f"{_ENTRY} WHERE jobs.id = ? OR idempotency_key = ?", (job_id, key)).fetchone()

        return _entry(await self._in_thread(save))

    async def get(self, job_id: str) -> Entry | None:
        return await self._one("WHERE jobs.id = ?", job_id)

    async def under(self, key: str) -> Entry | None:
        return await self._one("WHERE jobs.idempotency_key = ?", key)

    async def of_safelight(self, safelight_id: str) -> Entry | None:
        return await self._one("WHERE jobs.safelight_id = ?", safelight_id)

    async def of_branch(self, project: str, branch: str) -> list[Entry]:
        """The branch's own, newest first: master assets, and their edits."""
        return await self._entries(
            "WHERE project = ? AND branch = ? AND scene IS NULL ORDER BY jobs.rowid DESC", project, branch
        )

    async def of_scene(self, project: str, branch: str, scene: str, shot: str | None = None) -> list[Entry]:
        """Of all its shots, or of one; newest first."""
        return await self._entries(
            "WHERE project = ? AND branch = ? AND scene = ? AND shot = coalesce(?, shot) ORDER BY jobs.rowid DESC",
            *(project, branch, scene, shot),
        )

    async def scenes(self) -> list[tuple[str, str, str]]:
        """Project, branch and scene of every scene that has a job."""
        sql = "SELECT DISTINCT project, branch, scene FROM jobs WHERE scene IS NOT NULL ORDER BY 1, 2, 3"
        return [(row["project"], row["branch"], row["scene"]) for row in await self._execute(sql)]

    async def unfinished(self, *, seen_before: float) -> list[Entry]:
        """What is not handed over; and of what is being made, what has news or was last seen before then."""
        return await self._entries(
            "WHERE state IN ('saved', 'sending') OR (state = 'submitted'"
            " AND (coalesce(news.seq, 0) > jobs.seq OR (is_live AND seen_at < ?))) ORDER BY jobs.rowid",
            seen_before,
        )

    async def will_send(self, job_id: str, body: dict[str, Any]) -> None:
        """From now on it may have arrived, and this is what is sent, however often."""
        await self._execute(
            "UPDATE jobs SET state = 'sending', body = ? WHERE id = ? AND state = 'saved'", json.dumps(body), job_id
        )

    async def submitted(self, job_id: str, document: dict[str, Any], *, is_live: bool) -> None:
        await self._execute(
            "UPDATE jobs SET state = 'submitted', safelight_id = ? WHERE id = ? AND state = 'sending'",
            document["id"],
            job_id,
        )
        await self.saw(document, is_live=is_live)

    async def refused(self, job_id: str, refusal: dict[str, Any]) -> None:
        await self._execute(
            "UPDATE jobs SET state = 'refused', refusal = ? WHERE id = ? AND state IN ('saved', 'sending')",
            json.dumps(refusal),
            job_id,
        )

    async def forget(self, job_id: str) -> None:
        """One that was refused before its client was answered: its key is free again."""
        await self._execute("DELETE FROM jobs WHERE id = ? AND state = 'refused'", job_id)

    async def cancel_unsent(self, job_id: str) -> bool:
        """Whether nothing had been sent, so that nothing ever will be."""
        sql = "UPDATE jobs SET state = 'canceled' WHERE id = ? AND state = 'saved' RETURNING id"
        return bool(await self._execute(sql, job_id))

    async def begin_again(self, job_id: str) -> bool:
        """Whether it is to be handed over anew. Safelight has nothing under its key: it took none, or was sent none."""
        sql = (
            "UPDATE jobs SET state = 'saved', body = NULL, refusal = NULL"
            " WHERE id = ? AND state IN ('refused', 'canceled') RETURNING id"
        )
        return bool(await self._execute(sql, job_id))

    async def saw(self, document: dict[str, Any], *, is_live: bool) -> None:
        """The copy is this one, unless it is newer already. Answers may overtake each other."""
        await self._execute(
            "UPDATE jobs SET document = ?, seq = ?, is_live = ?, seen_at = ? WHERE safelight_id = ? AND seq <= ?",
            *(json.dumps(document), document["seq"], is_live, time.time(), document["id"], document["seq"]),
        )
        await self._execute("DELETE FROM news WHERE safelight_id = ? AND seq <= ?", document["id"], document["seq"])

    async def heard(self, safelight_id: str, seq: int) -> None:
        """A webhook told of this event. It may come before the job's id is known here, twice, and late."""
        await self._execute(
            "INSERT INTO news (safelight_id, seq) SELECT ?1, ?2"
            " WHERE ?2 > coalesce((SELECT seq FROM jobs WHERE safelight_id = ?1), 0)"
            " ON CONFLICT (safelight_id) DO UPDATE SET seq = max(seq, excluded.seq)",
            safelight_id,
            seq,
        )

    async def _one(self, where: str, *values: Any) -> Entry | None:
        found = await self._entries(where, *values)
        return found[0] if found else None

    async def _entries(self, where: str, *values: Any) -> list[Entry]:
        return [_entry(row) for row in await self._execute(f"{_ENTRY} {where}", *values)]

    async def _execute(self, sql: str, *values: Any) -> Sequence[sqlite3.Row]:
        return await self._in_thread(lambda: self._db.execute(sql, values).fetchall())

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        id=row["id"],
        idempotency_key=row["idempotency_key"],
        request=json.loads(row["request"]),
        fingerprint=row["fingerprint"],
        state=State(row["state"]),
        body=_json(row["body"]),
        refusal=_json(row["refusal"]),
        safelight_id=row["safelight_id"],
        document=_json(row["document"]),
        is_live=bool(row["is_live"]),
        has_news=bool(row["has_news"]),
        seen_at=row["seen_at"],
        created_at=row["created_at"],
    )


def _json(text: str | None) -> dict[str, Any] | None:
    return None if text is None else json.loads(text)
