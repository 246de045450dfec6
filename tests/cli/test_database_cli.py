"""Commands that need a database, where there is none that they can use, and where its schema is out of date."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from safelight.cli.children import free_port
from safelight.db.migrate import migrations
from tests.cli.conftest import Safelight
from tests.orders import until

COMMANDS = (["db", "migrate"], ["keys", "list"], ["api"], ["worker"], ["serve"])


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("nonsense-of-hunter2", "SAFELIGHT_DATABASE_URL: invalid DSN"),
        ("mysql://me:hunter2@host/db", "SAFELIGHT_DATABASE_URL: invalid DSN"),
        ("postgresql://me:hunter2@[::1/db", "SAFELIGHT_DATABASE_URL is not an address"),
        ("postgresql://me:hunter/2@host/db", "SAFELIGHT_DATABASE_URL is not an address"),
        ("postgresql://me:hunter2@127.0.0.1/db?sslmode=hunter2", "SAFELIGHT_DATABASE_URL: `sslmode`"),
        ("postgresql://me:hunter2@127.0.0.1:PORT/db", "the database does not answer: "),
    ],
)
async def test_a_database_that_cannot_be_reached_is_told_in_one_line_without_its_address(
    address: str, complaint: str, safelight: Safelight, environment: dict[str, str]
) -> None:
    environment["SAFELIGHT_DATABASE_URL"] = address.replace("PORT", str(free_port()))
    for said in await asyncio.gather(*(safelight(*words) for words in COMMANDS)):
        assert (said.code, said.out, said.err.count("\n")) == (1, "", 1), said.err
        assert said.err.startswith(f"safelight: {complaint}")
        assert "hunter" not in said.err


async def test_a_port_that_is_none_keeps_the_doctor_from_nothing(
    safelight: Safelight, environment: dict[str, str]
) -> None:
    environment["SAFELIGHT_DATABASE_URL"] = "postgresql://me:hunter2@127.0.0.1:99999/db"
    said = await safelight("doctor")
    assert (said.code, said.err) == (1, "")
    assert "the database does not answer" in said.out
    assert "hunter2" not in said.out
    assert (await safelight("providers", "list")).code == 0
    assert (await safelight("keys", "list")).err.startswith("safelight: SAFELIGHT_DATABASE_URL is not an address")


async def test_who_may_not_make_tables_is_told_so(
    safelight: Safelight, environment: dict[str, str], database: str, pool: asyncpg.Pool
) -> None:
    await pool.execute("CREATE ROLE onlooker LOGIN")
    try:
        parts = database.replace("postgresql://postgres", "postgresql://onlooker")
        assert parts != database
        environment["SAFELIGHT_DATABASE_URL"] = parts
        said = await safelight("db", "migrate")
    finally:
        await pool.execute("DROP ROLE onlooker")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("safelight: permission denied"), said.err


async def test_a_database_that_takes_no_writes_is_told_in_one_line(
    safelight: Safelight, environment: dict[str, str], database: str
) -> None:
    """As a standby is."""
    environment["SAFELIGHT_DATABASE_URL"] = f"{database}&default_transaction_read_only=on"
    for said in await asyncio.gather(*(safelight(*words) for words in COMMANDS)):
        assert (said.code, said.out, said.err.count("\n")) == (1, "", 1), said.err
        assert "in a read-only transaction" in said.err


async def test_a_database_that_goes_away_during_a_migration_is_told_in_one_line(
    safelight: Safelight, environment: dict[str, str], database: str, pool: asyncpg.Pool
) -> None:
    environment["SAFELIGHT_DATABASE_URL"] = database
    waiting = "datname = current_database() AND application_name = 'safelight migrate' AND wait_event_type = 'Lock'"
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("LOCK TABLE migrations IN ACCESS EXCLUSIVE MODE")
        migrating = asyncio.ensure_future(safelight("db", "migrate"))
        await until(pool, f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {waiting})")
        await pool.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {waiting}")
        said = await migrating
    assert (said.code, said.out, said.err) == (1, "", "safelight: the database went away meanwhile\n")


async def test_what_the_schema_lacked_is_listed_also_of_a_database_of_ones_own_home(safelight: Safelight) -> None:
    said = await safelight("db", "migrate")
    assert (said.code, said.err) == (0, "")
    names = [f"applied {each.version:04}_{each.name}" for each in migrations()]
    assert said.out.splitlines() == [*names, "the schema is up to date"]
    assert (await safelight("db", "migrate")).out == "the schema is up to date\n"
