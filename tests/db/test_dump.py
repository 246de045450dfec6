"""A dump reaches the database by the same addresses as everything else, and tells nobody the password."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest

from safelight.db import dump as dumps
from safelight.db.dump import DumpFailed, dump, restore


@pytest.mark.parametrize(
    ("dsn", "address"),
    [
        ("postgresql://me:hidden@host/db", "postgresql://me@host/db"),
        ("postgresql://me@host/db?sslmode=require&password=hidden", "postgresql://me@host/db?sslmode=require"),
        ("postgresql:///db?host=/run/pg&user=me&password=hidden", "postgresql:///db?host=%2Frun%2Fpg&user=me"),
    ],
)
def test_a_password_is_in_no_list_of_processes(dsn: str, address: str) -> None:
    assert dumps._without_password(dsn) == (address, "hidden")


async def test_an_address_without_a_host_but_with_a_password_can_be_dumped(database: str, tmp_path: Path) -> None:
    dsn = database.replace("postgres@", "", 1) + "&user=postgres&password=hidden"
    assert await is_reached(dsn)

    await dump(dsn, tmp_path / "database.dump")

    assert (tmp_path / "database.dump").stat().st_size > 0


async def test_what_the_address_leaves_out_is_taken_from_the_variables_of_postgresql(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = database.replace("postgres@", "", 1)
    monkeypatch.setenv("PGUSER", "postgres")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")  # asyncpg knows nothing of it
    assert await is_reached(dsn)

    await dump(dsn, tmp_path / "database.dump")

    assert (tmp_path / "database.dump").stat().st_size > 0


async def test_a_dump_that_is_cut_off_is_not_restored_in_part(database: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database)
    await connection.execute(
        "INSERT INTO safelight.migrations (version, name, checksum) SELECT n, 'filler', md5(n::text)"
        " FROM generate_series(10000, 60000) AS n"
    )
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    whole, cut = tmp_path / "whole.dump", tmp_path / "cut.dump"
    await dump(database, whole)
    await connection.execute("DROP SCHEMA safelight CASCADE")
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 9 // 10])

    with pytest.raises(DumpFailed, match="pg_restore"):
        await restore(database, cut)

    async with asyncio.timeout(10):  # the server notices by itself that nobody goes on
        while await connection.fetchval(sessions) > 1:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)
    assert await connection.fetchval("SELECT to_regnamespace('safelight')") is None
    await restore(database, whole)
    assert await connection.fetchval("SELECT max(version) FROM safelight.migrations") == 60_000
    await connection.close()


async def test_what_a_dump_cannot_be_restored_beside_is_told_in_the_servers_words(
    database: str, tmp_path: Path
) -> None:
    await dump(database, tmp_path / "database.dump")

    with pytest.raises(DumpFailed, match=r'psql: .*schema "safelight" already exists'):
        await restore(database, tmp_path / "database.dump")


async def is_reached(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    await connection.close()
    return True
