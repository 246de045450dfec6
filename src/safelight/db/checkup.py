"""Whether a PostgreSQL server is one that Safelight can work with: version, schema, clock, connections."""

from __future__ import annotations

import time

import asyncpg

from safelight.db.migrate import MigrationChanged, migrations, pending
from safelight.db.statements import load
from safelight.domain.checkup import Check, Verdict

AREA = "database"

_SQL = load("doctor")

_OLDEST_SERVER = 140_000
_SKEW_SECONDS = 2.0
_SPARE_CONNECTIONS = 25
"""About what one more worker takes: 12 for its statements, 8 for its two intakes, and its heartbeat."""


async def server_checks(conn: asyncpg.Connection) -> tuple[str, list[Check]]:
    """The server's version, and the checks; the schema cannot be used when one of them is a problem."""
    asked_at = time.time()
    server = await conn.fetchrow(_SQL.server)
    answered_at = time.time()
    assert server is not None
    return server["version"], [
        _version(server),
        await _schema(conn),
        _clock(server["clock_seconds"], asked_at=asked_at, answered_at=answered_at),
        _connections(server),
    ]


def unreachable(error: Exception) -> Check:
    """The check for a database that could not be asked because of `error`."""
    # The text of other errors may repeat the address, which may hold a password.
    said = isinstance(error, asyncpg.PostgresError | OSError) and str(error)
    return _check(
        "reachable",
        Verdict.PROBLEM,
        f"the database does not answer: {said or type(error).__name__}",
        "Nothing can be submitted or asked. Calls that were sent are staged when they answer, and adopted later.",
        "Start PostgreSQL, or put SAFELIGHT_DATABASE_URL right. Safelight goes on by itself.",
    )


def _version(server: asyncpg.Record) -> Check:
    found = f"PostgreSQL {server['version']} answers"
    if server["is_standby"]:
        return _check(
            "reachable",
            Verdict.PROBLEM,
            f"{found}, as a standby",
            "A standby takes no writes.",
            "Point SAFELIGHT_DATABASE_URL at the primary.",
        )
    if server["version_num"] < _OLDEST_SERVER:
        return _check(
            "reachable",
            Verdict.PROBLEM,
            found,
            "Safelight is written for PostgreSQL 14 and newer.",
            "Upgrade the server.",
        )
    return _check("reachable", Verdict.OK, found)


async def _schema(conn: asyncpg.Connection) -> Check:
    try:
        missing = await pending(conn)
    except MigrationChanged as error:
        return _check(
            "schema",
            Verdict.PROBLEM,
            str(error),
            "The schema is not the one that this version was written for.",
            "Install an unchanged Safelight.",
        )
    if missing:
        return _check(
            "schema",
            Verdict.PROBLEM,
            f"{len(missing)} migrations are missing: {', '.join(f'{m.version:04}_{m.name}' for m in missing)}",
            "This version cannot work with the tables as they are.",
            "Run `safelight db migrate`; every start of Safelight does so too.",
        )
    newest = await conn.fetchval(_SQL.newest_migration) or 0
    if newest > migrations()[-1].version:
        return _check(
            "schema",
            Verdict.WARNING,
            f"the schema is {newest - migrations()[-1].version} migrations newer than this version",
            "A newer Safelight has been started on this database.",
            "Finish the upgrade: install the newer version here too.",
        )
    return _check("schema", Verdict.OK, f"up to date (migration {newest:04})")


def _clock(clock_seconds: float, *, asked_at: float, answered_at: float) -> Check:
    half = (answered_at - asked_at) / 2
    skew = clock_seconds - (asked_at + half)
    if abs(skew) <= _SKEW_SECONDS + half:
        return _check("clock", Verdict.OK, f"within {_SKEW_SECONDS:g} s of this machine's")
    return _check(
        "clock",
        Verdict.WARNING,
        f"the database's clock is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine's",
        "Leases and deadlines go by the database's clock alone, but times in logs and receipts do not match its rows.",
        "Set both clocks by NTP.",
    )


def _connections(server: asyncpg.Record) -> Check:
    used, allowed = server["connections_used"], server["connections_allowed"]
    found = f"{used} of {allowed} connections in use"
    if allowed - used >= _SPARE_CONNECTIONS:
        return _check("connections", Verdict.OK, found)
    return _check(
        "connections",
        Verdict.WARNING,
        found,
        f"A worker takes up to {_SPARE_CONNECTIONS}: one more may find none, and so may one that restarts.",
        "Raise `max_connections` in postgresql.conf, or run fewer processes.",
    )


def _check(name: str, verdict: Verdict, found: str, meaning: str = "", remedy: str = "") -> Check:
    return Check(area=AREA, name=name, verdict=verdict, found=found, meaning=meaning, remedy=remedy)
