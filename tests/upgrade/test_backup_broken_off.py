"""Backups and restores that break off between two steps, or meet what somebody else has put in their way."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from safelight.cli.complaint import Complaint
from safelight.cli.processes import run_migrate
from safelight.db.dump import SCHEMA
from safelight.db.placement import wheel_binaries
from safelight.settings import RESTORING, Settings
from safelight.storage.copying import Present, copy_files
from safelight.wiring import backup as backups
from safelight.wiring.backup import BackupFailed, back_up, restore_backup
from tests.databases import fresh_database
from tests.upgrade.held_up import dump_waits, dumps_held_up


def settings_of(home: Path, dsn: str) -> Settings:
    return Settings(home=home, database_url=dsn)


async def drop_tables(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("DROP SCHEMA safelight CASCADE")
    await connection.close()


def stage(home: Path, name: str) -> None:
    (home / "staging").mkdir(exist_ok=True)
    for suffix in (".bin", ".json"):
        (home / "staging" / f"{name}{suffix}").write_text("x")


def kill_before_renaming(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Until the patch is undone."""
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == name:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)


async def test_an_update_of_a_backup_that_breaks_off_leaves_what_was_staged(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, folder = settings_of(tmp_path, database), tmp_path / "saved"
    stage(tmp_path, "att_1")
    await back_up(settings, folder)
    for path in (tmp_path / "staging").iterdir():
        path.unlink()
    kill_before_renaming(monkeypatch, "database.dump.new")
    with pytest.raises(KeyboardInterrupt):
        await back_up(settings, folder)

    assert sorted(path.name for path in (folder / "staging").iterdir()) == ["att_1.bin", "att_1.json"]
    monkeypatch.undo()
    await back_up(settings, folder)
    assert not list((folder / "staging").iterdir())


async def test_a_first_backup_that_breaks_off_is_begun_anew_in_the_same_folder(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a nightly one does that was killed the first time."""
    settings, folder = settings_of(tmp_path, database), tmp_path / "saved"
    kill_before_renaming(monkeypatch, "backup.json.new")
    with pytest.raises(KeyboardInterrupt):
        await back_up(settings, folder)
    monkeypatch.undo()
    with pytest.raises(BackupFailed, match="no backup that is whole"):
        await restore_backup(settings_of(tmp_path / "new", database), folder)

    await back_up(settings, folder)

    assert sorted(path.name for path in folder.iterdir()) == ["backup.json", "blobs", "database.dump", "staging"]


async def test_a_folder_of_somebody_else_is_left_alone(database: str, tmp_path: Path) -> None:
    settings, folder = settings_of(tmp_path, database), tmp_path / "saved"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    for _ in range(2):  # the first attempt leaves no sign by which a second would take the folder for ours
        with pytest.raises(BackupFailed, match="neither empty nor an earlier backup"):
            await back_up(settings, folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


async def test_two_backups_into_one_folder_at_once_are_refused(database: str, tmp_path: Path) -> None:
    settings, folder = settings_of(tmp_path, database), tmp_path / "saved"
    folder.mkdir()
    with backups.lock_at_once(folder), pytest.raises(BackupFailed, match="under way"):
        await back_up(settings, folder)


async def test_a_folder_stays_locked_until_a_backup_that_was_stopped_writes_no_more(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, is_writing, may_end = tmp_path / "saved", asyncio.Event(), threading.Event()
    loop, put_in_place = asyncio.get_running_loop(), backups._put_in_place

    def slow(*args: Any) -> None:
        loop.call_soon_threadsafe(is_writing.set)
        assert may_end.wait(60)
        put_in_place(*args)

    monkeypatch.setattr(backups, "_put_in_place", slow)
    backup = asyncio.create_task(back_up(settings_of(tmp_path, database), folder))
    async with asyncio.timeout(30):
        await is_writing.wait()

    backup.cancel()
    try:
        with pytest.raises(BackupFailed, match="under way"):
            await back_up(settings_of(tmp_path, database), folder)
    finally:
        may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await backup
    assert (folder / "backup.json").exists()


async def test_a_pg_dump_that_outlived_its_backup_does_not_write_into_the_next_one(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    """The backup was killed, and nobody could tell pg_dump."""
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "backup.begun").touch()
    words = ("--format=custom", f"--schema={SCHEMA}", f"--file={folder / 'database.dump.new'}", f"--dbname={database}")
    async with dumps_held_up(database):
        left = subprocess.Popen([wheel_binaries() / "pg_dump", *words])  # noqa: ASYNC220 - starts at once
        await dump_waits(pool)
        left.send_signal(signal.SIGSTOP)
    await pool.execute("UPDATE installation SET feed_epoch = feed_epoch + 1000")
    await back_up(settings_of(tmp_path, database), folder)
    saved = (folder / "database.dump").read_bytes()

    left.send_signal(signal.SIGCONT)

    assert await asyncio.to_thread(left.wait, 60) == 0
    assert (folder / "database.dump").read_bytes() == saved


async def test_a_restore_goes_on_only_with_the_database_that_it_has_made(
    database: str, postgres: str, tmp_path: Path
) -> None:
    folder, home = tmp_path / "saved", tmp_path / "home"
    (tmp_path / "old").mkdir()
    await back_up(settings_of(tmp_path / "old", database), folder)
    sheet = (folder / "backup.json").read_text()
    (folder / "backup.json").write_text(sheet.replace('"jobs": 0', '"jobs": 7'))
    home.mkdir()
    # pg_restore had failed; then somebody started `serve`, which made a new database
    (home / RESTORING).write_text(json.loads(sheet)["at"])
    async with fresh_database(postgres) as other:
        with pytest.raises(BackupFailed, match="a database already"):
            await restore_backup(settings_of(home, other), folder)


async def test_a_restore_that_broke_off_goes_on_with_its_own_backup_and_with_no_other(
    database: str, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monday, tuesday, home = tmp_path / "monday", tmp_path / "tuesday", tmp_path / "home"
    for folder in (monday, tuesday):
        await back_up(settings_of(tmp_path, database), folder)

    async def killed(_: str) -> None:
        raise KeyboardInterrupt

    async with fresh_database(postgres) as dsn:
        await drop_tables(dsn)
        monkeypatch.setattr(backups, "migrate", killed)
        with pytest.raises(KeyboardInterrupt):
            await restore_backup(settings_of(home, dsn), monday)
        monkeypatch.undo()

        with pytest.raises(BackupFailed, match="a database already"):
            await restore_backup(settings_of(home, dsn), tuesday)

        await restore_backup(settings_of(home, dsn), monday)
        assert not (home / RESTORING).exists()


def test_nothing_starts_in_a_home_that_is_half_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / RESTORING).touch()
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("SAFELIGHT_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Complaint, match="restore"):
        run_migrate()


async def test_nobody_else_reads_a_dump(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir(mode=0o755)
    await back_up(settings_of(tmp_path, database), folder)
    assert (folder / "database.dump").stat().st_mode & 0o077 == 0


async def test_a_recipe_that_was_changed_is_saved_as_it_is_now(database: str, tmp_path: Path) -> None:
    settings, folder = settings_of(tmp_path, database), tmp_path / "saved"
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.toml").write_text("n = 1\n")
    await back_up(settings, folder)
    (tmp_path / "recipes" / "mine.toml").write_text("n = 2\n")
    await back_up(settings, folder)
    assert (folder / "recipes" / "mine.toml").read_text() == "n = 2\n"


async def test_recipes_that_are_links_to_elsewhere_are_saved(database: str, tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "shared.toml").write_text("n = 1\n")
    (tmp_path / "recipes" / "mine.toml").symlink_to(tmp_path / "shared.toml")

    await back_up(settings_of(tmp_path, database), tmp_path / "saved")

    saved = tmp_path / "saved" / "recipes" / "mine.toml"
    assert not saved.is_symlink()
    assert saved.read_text() == "n = 1\n"


def test_a_recipe_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    saved, home = tmp_path / "saved", tmp_path / "home"
    for place, text in ((saved, "old\n"), (home, "newer, and longer\n")):
        (place / "recipes").mkdir(parents=True)
        (place / "recipes" / "mine.toml").write_text(text)
    backups._bring_files(Settings(home=home), saved)
    assert (home / "recipes" / "mine.toml").read_text() == "newer, and longer\n"
    assert copy_files(saved / "recipes", home / "recipes", present=Present.KEPT).copied == 0
