"""What PostgreSQL did over some time: its statements one by one, as its own log tells, and its counters."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg

from benchmarks.installation import Installation

_ENTRY = re.compile(
    r"^(?P<process>[^|\n]*)\|LOG:  duration: (?P<ms>[\d.]+) ms(?:  (?P<step>parse|bind|execute)[^:\n]*:|  statement:)"
    r" *(?P<text>.*(?:\n\t.*)*)",
    re.MULTILINE,
)
_NAME = re.compile(r"-- name: (\w+)")
_LOGGED = ("log_min_duration_statement = 0", "log_line_prefix = '%a|'", "track_wal_io_timing = on")
_COUNTERS = """
    SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS transactions,
           (SELECT sum(fsyncs)::bigint FROM pg_stat_io WHERE object = 'wal') AS syncs,
           (SELECT sum(fsync_time)::float8 FROM pg_stat_io WHERE object = 'wal') AS sync_ms,
           (SELECT wal_bytes::float8 FROM pg_stat_wal) AS log_bytes
"""
_COUNTED_AFTER_SECONDS = 1.5  # a backend tells its counters once a second


@dataclass(slots=True)
class Statement:
    """How often it ran, and for how long: preparing, binding and running."""

    runs: int = 0
    ms: float = 0.0


@dataclass(slots=True, kw_only=True)
class Activity:
    """Filled in at the end of `watched`. `statements` by name; BEGIN and COMMIT are statements, too."""

    statements: dict[str, Statement] = field(default_factory=lambda: defaultdict(Statement))
    transactions: int = 0
    syncs: int = 0
    sync_ms: float = 0.0
    log_bytes: float = 0.0


@asynccontextmanager
async def watched(installation: Installation, database: asyncpg.Connection) -> AsyncIterator[Activity]:
    """What goes on inside of the block. Telling it takes PostgreSQL some time of its own."""
    log, activity = installation.home / "pg" / "server.log", Activity()
    for each in _LOGGED:
        await database.execute(f"ALTER SYSTEM SET {each}")
    await database.execute("SELECT pg_reload_conf()")
    await asyncio.sleep(_COUNTED_AFTER_SECONDS)
    begin_bytes, before = log.stat().st_size, await _counters(database)
    yield activity
    await asyncio.sleep(_COUNTED_AFTER_SECONDS)
    after = await _counters(database)
    for each in _LOGGED:
        await database.execute(f"ALTER SYSTEM RESET {each.partition(' ')[0]}")
    await database.execute("SELECT pg_reload_conf()")
    for name in ("transactions", "syncs", "sync_ms", "log_bytes"):
        setattr(activity, name, after[name] - before[name])
    with log.open("rb") as file:
        file.seek(begin_bytes)
        for name, ms, is_run in entries(file.read().decode(errors="replace")):
            activity.statements[name].ms += ms
            activity.statements[name].runs += is_run


def entries(log: str) -> Iterator[tuple[str, float, bool]]:
    """Name, milliseconds and whether it ran (or was only prepared for it), of each entry of ours in a server's log."""
    for found in _ENTRY.finditer(log):
        if found["process"].startswith("safelight"):
            yield _name(found["process"], found["text"]), float(found["ms"]), found["step"] in (None, "execute")


def _name(process: str, text: str) -> str:
    if named := _NAME.search(text):
        return f"`{named[1]}`"
    words = text.split()
    if words[0].rstrip(";") in ("BEGIN", "COMMIT", "ROLLBACK"):
        return words[0].rstrip(";")
    if "pgqueuer" in text or "execute_after" in text:
        return "PgQueuer's, to hand over" if process.endswith("queue") else "PgQueuer's, to take and to end"
    return "others"


async def _counters(database: asyncpg.Connection) -> asyncpg.Record:
    row = await database.fetchrow(_COUNTERS)
    assert row is not None
    return row
