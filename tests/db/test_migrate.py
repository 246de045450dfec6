from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib import resources
from importlib.metadata import version
from uuid import uuid4

import asyncpg
import pytest
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.settings import DBSettings

from safelight.db.migrate import Migration, MigrationChanged, migrate, migrations, pending
from safelight.db.pool import connect

ONE = Migration(version=1, name="one", sql="CREATE TABLE one (id int);")
TWO = Migration(version=2, name="two", sql="CREATE TABLE two (id int); INSERT INTO two VALUES (2);")
BROKEN = Migration(version=3, name="broken", sql="CREATE TABLE three (id int); SELECT nonsense;")


@pytest.fixture
async def empty(postgres: str) -> AsyncIterator[asyncpg.Connection]:
    name = f"test_{uuid4().hex}"
    server = await asyncpg.connect(postgres)
    await server.execute(f"CREATE DATABASE {name}")
    connection = await asyncpg.connect(postgres, database=name)
    yield connection
    await connection.close()
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


async def test_the_second_run_applies_nothing(empty: asyncpg.Connection):
    assert await pending(empty) == migrations()
    assert await migrate(empty) == migrations()

    assert await pending(empty) == []
    assert await migrate(empty) == []


async def test_migrations_create_their_tables_in_our_schema_and_leave_the_connection_as_it_was(
    empty: asyncpg.Connection,
):
    before = await empty.fetch("SELECT name, setting FROM pg_settings ORDER BY name")

    assert await migrate(empty, known=[ONE, TWO]) == [ONE, TWO]

    assert await empty.fetch("SELECT name, setting FROM pg_settings ORDER BY name") == before
    assert await empty.fetchval("SELECT id FROM safelight.two") == 2
    ledger = await empty.fetch("SELECT version, name, checksum FROM safelight.migrations ORDER BY version")
    assert [tuple(row) for row in ledger] == [(1, "one", ONE.checksum), (2, "two", TWO.checksum)]


async def test_a_changed_file_is_refused_before_anything_is_applied(empty: asyncpg.Connection):
    await migrate(empty, known=[ONE])
    reworded = replace(ONE, sql="CREATE TABLE one (id bigint);")

    with pytest.raises(MigrationChanged, match=r"`0001_one` was applied in another wording"):
        await migrate(empty, known=[reworded, TWO])
    with pytest.raises(MigrationChanged):
        await pending(empty, known=[reworded, TWO])

    assert await empty.fetchval("SELECT to_regclass('safelight.two')") is None


async def test_a_failing_migration_leaves_nothing_of_itself_and_keeps_those_before_it(
    empty: asyncpg.Connection,
):
    with pytest.raises(asyncpg.UndefinedColumnError):
        await migrate(empty, known=[ONE, BROKEN])

    assert await empty.fetchval("SELECT to_regclass('safelight.one')") is not None
    assert await empty.fetchval("SELECT to_regclass('safelight.three')") is None
    assert await pending(empty, known=[ONE, BROKEN]) == [BROKEN]


async def test_an_older_release_leaves_a_newer_schema_alone(empty: asyncpg.Connection):
    await migrate(empty, known=[ONE, TWO])

    assert await migrate(empty, known=[ONE]) == []
    assert await empty.fetchval("SELECT max(version) FROM safelight.migrations") == 2


async def test_runners_that_race_apply_each_migration_once(empty: asyncpg.Connection, postgres: str):
    name = await empty.fetchval("SELECT current_database()")
    runners = [await asyncpg.connect(postgres, database=name) for _ in range(4)]

    applied = await asyncio.gather(*(migrate(runner) for runner in runners))

    assert sorted((each for some in applied for each in some), key=lambda each: each.version) == migrations()
    assert await empty.fetchval("SELECT count(*) FROM safelight.migrations") == len(migrations())
    for runner in runners:
        await runner.close()


async def test_a_dsn_will_do_for_a_connection(empty: asyncpg.Connection, postgres: str):
    dsn = postgres.replace("/postgres?", f"/{await empty.fetchval('SELECT current_database()')}?")

    assert await migrate(dsn, known=[ONE]) == [ONE]
    assert await pending(dsn, known=[ONE, TWO]) == [TWO]


async def test_pgqueuer_finds_the_structure_it_expects(database: str):
    connection = await connect(database, application_name="tests", jsonb_as_values=False)
    settings = DBSettings(db_schema="safelight")
    driver = AsyncpgDriver(connection)
    queries = Queries(driver, qbe=QueryBuilderEnvironment(settings))

    await QueueManager(queries).verify_structure()

    await connection.close()


def test_the_committed_tables_of_pgqueuer_are_those_of_the_pinned_version():
    pinned = version("pgqueuer").replace(".", "_")
    committed = resources.files("safelight.db").joinpath("migrations", f"0000_pgqueuer_{pinned}.sql")
    rendered = QueryBuilderEnvironment(DBSettings(db_schema="safelight")).build_install_query()

    assert committed.read_text().strip() == rendered.strip()
