"""This release goes on with tables that a later one has added columns to: during an upgrade both run at once."""

from __future__ import annotations

from importlib import resources

import asyncpg

from safelight.db.pool import connect
from safelight.db.statements import load

READ_BY_NAME = {"schedules.newest_runs", "schedules.run", "schedules.runs_page"}
"""Statements that bring along whatever their table has; `api/resources/schedule_view.py` takes what it knows."""


async def test_no_statement_minds_a_column_that_a_later_release_has_added(database: str) -> None:
    conn = await connect(database, application_name="tests")
    before = await shapes(conn)
    for table in await tables(conn):
        await conn.execute(f"ALTER TABLE {table} ADD COLUMN zz_later text, ADD COLUMN zz_more int NOT NULL DEFAULT 7")

    after = await shapes(conn)
    await conn.close()

    changed = {name for name in before if before[name] != after[name]}
    assert changed == READ_BY_NAME, "name the columns, or read them by name and say so here"


async def tables(conn: asyncpg.Connection) -> list[str]:
    rows = await conn.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'safelight' AND tablename !~ '^pgqueuer'"
    )
    return [row["tablename"] for row in rows]


async def shapes(conn: asyncpg.Connection) -> dict[str, tuple[str, ...]]:
    """The columns of every statement's result."""
    found = {}
    for file in sorted(
        each.name.removesuffix(".sql") for each in resources.files("safelight.db").joinpath("sql").iterdir()
    ):
        for name, statement in load(file).items():
            prepared = await conn.prepare(statement)
            found[f"{file}.{name}"] = tuple(each.name for each in prepared.get_attributes())
    return found
