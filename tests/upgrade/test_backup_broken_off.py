"""Backups and restores that break off between two steps, or meet what somebody else has put in their way."""

from __future__ import annotations

from pathlib import Path

import pytest

from safelight.cli.processes import CannotStart, run_migrate
from safelight.db import dump as dumps
from safelight.settings import RESTORING, Settings
from safelight.storage.copying import Present, copy_files
from safelight.wiring import backup as backups
from safelight.wiring.backup import BackupFailed, back_up, restore_backup
from tests.databases import fresh_database


def settings_of(home: Path, dsn: str) -> Settings:
    return Settings(home=home, database_url=dsn)


def stage(home: Path, name: str) -> None:
    (home / "staging").mkdir(exist_ok=True)
    for suffix in (".bin", ".json"):
        (home / "staging" / f"{name}{suffix}").write_text("x")


async def test_an_update_of_a_backup_that_breaks_off_leaves_what_was_staged(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, folder = settings_of(tmp_path, database), tmp_path / "saved"
    stage(tmp_path, "att_1")
    await back_up(settings, folder)
    for path in (tmp_path / "staging").iterdir():
        path.unlink()
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.name == "database.dump.new":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        await back_up(settings, folder)

    assert sorted(path.name for path in (folder / "staging").iterdir()) == ["att_1.bin", "att_1.json"]
    monkeypatch.undo()
    await back_up(settings, folder)
    assert not list((folder / "staging").iterdir())


async def test_two_backups_into_one_folder_at_once_are_refused(database: str, tmp_path: Path) -> None:
    settings, folder = settings_of(tmp_path, database), tmp_path / "saved"
    folder.mkdir()
    with backups.lock_at_once(folder), pytest.raises(BackupFailed, match="under way"):
        await back_up(settings, folder)


async def test_a_restore_goes_on_only_with_the_database_that_it_has_made(
    database: str, postgres: str, tmp_path: Path
) -> None:
    folder, home = tmp_path / "saved", tmp_path / "home"
    (tmp_path / "old").mkdir()
    await back_up(settings_of(tmp_path / "old", database), folder)
    sheet = (folder / "backup.json").read_text()
    (folder / "backup.json").write_text(sheet.replace('"jobs": 0', '"jobs": 7'))
    home.mkdir()
    (home / RESTORING).touch()  # pg_restore had failed; then somebody started `serve`, which made a new database
    async with fresh_database(postgres) as other:
        with pytest.raises(BackupFailed, match="a database already"):
            await restore_backup(settings_of(home, other), folder)


def test_nothing_starts_in_a_home_that_is_half_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / RESTORING).touch()
    monkeypatch.setenv("SAFELIGHT_HOME", str(tmp_path))
    monkeypatch.setenv("SAFELIGHT_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(CannotStart, match="restore"):
        run_migrate()


async def test_nobody_else_reads_a_dump(database: str, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir(mode=0o755)
    await back_up(settings_of(tmp_path, database), folder)
    assert (folder / "database.dump").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "dsn", ["postgresql://me:hidden@host/db", "postgresql://me@host/db?sslmode=require&password=hidden"]
)
def test_a_password_is_in_no_list_of_processes(dsn: str) -> None:
    address, password = dumps._without_password(dsn)
    assert "hidden" not in address
    assert password == "hidden"
    assert address.startswith("postgresql://me@host/db")


async def test_a_recipe_that_was_changed_is_saved_as_it_is_now(database: str, tmp_path: Path) -> None:
    settings, folder = settings_of(tmp_path, database), tmp_path / "saved"
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.toml").write_text("n = 1\n")
    await back_up(settings, folder)
    (tmp_path / "recipes" / "mine.toml").write_text("n = 2\n")
    await back_up(settings, folder)
    assert (folder / "recipes" / "mine.toml").read_text() == "n = 2\n"


def test_a_recipe_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    saved, home = tmp_path / "saved", tmp_path / "home"
    for place, text in ((saved, "old\n"), (home, "newer, and longer\n")):
        (place / "recipes").mkdir(parents=True)
        (place / "recipes" / "mine.toml").write_text(text)
    backups._bring_files(Settings(home=home), saved)
    assert (home / "recipes" / "mine.toml").read_text() == "newer, and longer\n"
    assert copy_files(saved / "recipes", home / "recipes", present=Present.KEPT).copied == 0
