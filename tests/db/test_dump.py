"""A dump reaches the database by the same addresses as everything else, and tells nobody the password."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from safelight.db import dump as dumps
from safelight.db.dump import dump


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


async def is_reached(dsn: str) -> bool:
    connection = await asyncpg.connect(dsn)
    await connection.close()
    return True
