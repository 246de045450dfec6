"""The schema is the sum of `db/migrations/NNNN_name.sql`, each applied once, in order, in a transaction.

PgQueuer's tables are among them, as the pinned version renders them: our schema has one history, and an
upgrade of the pin is a migration too.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import resources
from itertools import pairwise

import asyncpg

from safelight.db.renumber import renumber_restored

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_LOCK = int.from_bytes(sha256(b"safelight.migrations").digest()[:8], "big", signed=True)
_LOCK_TIMEOUT = "60s"  # chosen: a long transaction must not make every later query queue up behind a migration

_LEDGER = """
CREATE SCHEMA IF NOT EXISTS safelight;
CREATE TABLE IF NOT EXISTS safelight.migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""


class MigrationChanged(RuntimeError):
    """A file that this database has applied reads differently now, so its schema is not the one we know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    version: int
    name: str
    sql: str = field(repr=False)

    @property
    def checksum(self) -> str:
        return sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All that this release knows, in order. Line ends are normalised, so checksums are too."""
    found = [
        Migration(version=int(match[1]), name=match[2], sql="\n".join(entry.read_text("utf-8").splitlines()) + "\n")
        for entry in resources.files("safelight.db").joinpath("migrations").iterdir()
        if (match := _FILE.fullmatch(entry.name))
    ]
    found.sort(key=lambda migration: migration.version)
    for one, next_one in pairwise(found):
        if one.version == next_one.version:
            raise ValueError(f"Two migrations are numbered {one.version:04}: `{one.name}` and `{next_one.name}`.")
    return found


async def migrate(target: str | asyncpg.Connection, *, known: Sequence[Migration] | None = None) -> list[Migration]:
    """The database has every known migration; returns those applied just now. `target`: a DSN or a connection
    outside a transaction. Runners that meet wait for each other, and each file is applied by one of them.

    A migration that fails leaves those before it applied. Ones from a newer release are left alone, so that
    the old release goes on during an upgrade. Raises MigrationChanged before it applies anything. Events that came
    out of another server's dump are numbered anew.
    """
    is_whole = known is None
    known = migrations() if known is None else known
    applied: list[Migration] = []
    async with _connected(target) as connection:
        while migration := await _apply_next(connection, known):
            applied.append(migration)
        if is_whole:
            await renumber_restored(connection)
    return applied


async def pending(target: str | asyncpg.Connection, *, known: Sequence[Migration] | None = None) -> list[Migration]:
    """What `migrate` would apply; changes nothing. Raises MigrationChanged."""
    known = migrations() if known is None else known
    async with _connected(target) as connection:
        if await connection.fetchval("SELECT to_regclass('safelight.migrations')") is None:
            return list(known)
        return await _pending(connection, known)


@asynccontextmanager
async def _connected(target: str | asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    if not isinstance(target, str):
        yield target
        return
    connection = await asyncpg.connect(target, server_settings={"application_name": "safelight migrate"})
    try:
        yield connection
    finally:
        await connection.close()


async def _apply_next(connection: asyncpg.Connection, known: Sequence[Migration]) -> Migration | None:
    async with connection.transaction():
        # The lock is the transaction's: no crash and no pooler can leave it behind.
        await connection.execute(f"""
            SET LOCAL client_min_messages = warning;
            SET LOCAL statement_timeout = 0;
            SET LOCAL lock_timeout = 0;
            SELECT pg_advisory_xact_lock({_LOCK});
            SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}';
            {_LEDGER}
            SET LOCAL search_path = safelight;
        """)
        missing = await _pending(connection, known)
        if not missing:
            return None
        migration = missing[0]
        await connection.execute(migration.sql)
        await connection.execute(
            "INSERT INTO safelight.migrations (version, name, checksum) VALUES ($1, $2, $3)",
            migration.version,
            migration.name,
            migration.checksum,
        )
        return migration


async def _pending(connection: asyncpg.Connection, known: Sequence[Migration]) -> list[Migration]:
    rows = await connection.fetch("SELECT version, checksum FROM safelight.migrations")
    applied = {row["version"]: row["checksum"] for row in rows}
    for migration in known:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise MigrationChanged(
                f"Migration `{migration.version:04}_{migration.name}` was applied in another wording. "
                "Restore the file as it was released, and put the change into a new migration."
            )
    return [migration for migration in known if migration.version not in applied]
