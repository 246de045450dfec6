"""`safelight backup` and `safelight restore` that cannot go on: one line of complaint, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from safelight.db.placement import lock_at_once
from tests.crash.processes import ran, started
from tests.upgrade.held_up import dump_waits, dumps_held_up


@pytest.mark.parametrize("command", ["backup", "restore"])
@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("mysql://me:hidden@host/db", "scheme is expected to be either"),
        ("postgresql://me:hid/den@host/db", "SAFELIGHT_DATABASE_URL is not an address"),
    ],
)
async def test_an_address_that_is_none_is_told_in_one_line_without_its_password(
    tmp_path: Path, command: str, address: str, complaint: str
) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    if command == "restore":
        (folder / "backup.json").write_text(json.dumps({"format": 1}))

    ended = await ran(command, str(folder), home=tmp_path / "home", database_url=address)

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert complaint in ended.err
    assert "hid" not in ended.err


async def test_a_database_that_goes_away_during_the_dump_is_told_in_one_line(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with dumps_held_up(database):
        backup = asyncio.create_task(ran("backup", str(tmp_path / "saved"), home=tmp_path, database_url=database))
        await dump_waits(pool)

        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'safelight backup'"
        )

        ended = await backup
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "safelight: the database went away meanwhile\n"


async def test_a_backup_that_is_told_to_stop_does_not_wait_for_its_dump_and_lets_go_of_the_folder(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    folder, log = tmp_path / "saved", tmp_path / "backup.log"
    async with dumps_held_up(database):
        async with started("backup", str(folder), log=log, home=tmp_path, database_url=database):
            await dump_waits(pool)

        with lock_at_once(folder) as lock:
            assert lock is not None
