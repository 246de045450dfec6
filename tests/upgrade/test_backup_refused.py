"""What would make a backup, or a restore, that is not whole is told, and fails it."""

from __future__ import annotations

import os
from pathlib import Path

import asyncpg
import pytest

from safelight.settings import Settings
from safelight.storage.local import MARKER
from safelight.wiring import backup as backups
from safelight.wiring.backup import BackupFailed, back_up


def fill(root: Path) -> None:
    """Pictures of two jobs."""
    for job in ("job_1", "job_2"):
        (root / job).mkdir(parents=True)
        (root / job / "a.png").write_text("paid")


def unreadable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of another user, or on a bad disk; modes do not stop root."""
    scandir = os.scandir

    def refused(path: str) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)


async def test_a_folder_of_the_store_that_cannot_be_read_fails_a_backup(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "blobs")
    unreadable(tmp_path / "blobs" / "job_2", monkeypatch)

    with pytest.raises(PermissionError, match="job_2"):
        await back_up(Settings(home=tmp_path, database_url=database), tmp_path / "saved")

    assert not (tmp_path / "saved" / "backup.json").exists()


async def test_a_store_that_has_a_disk_of_its_own_is_saved(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "blobs")
    (tmp_path / "blobs" / "lost+found").mkdir()
    unreadable(tmp_path / "blobs" / "lost+found", monkeypatch)

    saved = await back_up(Settings(home=tmp_path, database_url=database), tmp_path / "saved")

    assert saved.pictures is not None
    assert saved.pictures.files == 2


def test_a_saved_folder_that_cannot_be_read_fails_a_restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "saved" / "blobs")
    unreadable(tmp_path / "saved" / "blobs" / "job_2", monkeypatch)

    with pytest.raises(PermissionError, match="job_2"):
        backups._bring_files(Settings(home=tmp_path / "home"), tmp_path / "saved")


@pytest.mark.parametrize("marker", [None, "other"])
async def test_a_store_that_is_not_that_of_the_database_fails_a_backup(
    database: str, pool: asyncpg.Pool, tmp_path: Path, marker: str | None
) -> None:
    """Its disk is not mounted, say."""
    settings, folder = Settings(home=tmp_path, database_url=database), tmp_path / "saved"
    await pool.execute("UPDATE installation SET store_marker = 'ours staging'")
    (tmp_path / "blobs").mkdir()
    if marker is not None:
        (tmp_path / "blobs" / MARKER).write_text(marker)

    with pytest.raises(BackupFailed, match=r"blobs` does not hold the pictures of this database: is it mounted\?"):
        await back_up(settings, folder)

    (tmp_path / "blobs" / MARKER).write_text("ours")
    await back_up(settings, folder)


async def test_a_backup_without_pictures_does_not_ask_for_the_store(
    database: str, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    await pool.execute("UPDATE installation SET store_marker = 'ours staging'")

    saved = await back_up(Settings(home=tmp_path, database_url=database), tmp_path / "saved", with_pictures=False)

    assert saved.pictures is None


@pytest.mark.parametrize("within", ["pictures", "home/staging", "home/recipes", "home/pg", "link"])
async def test_a_backup_into_what_it_saves_is_refused_before_there_is_a_folder(
    database: str, tmp_path: Path, within: str
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "pictures")
    settings = Settings(home=tmp_path / "home", database_url=database, storage_url=f"file://{tmp_path / 'pictures'}")

    with pytest.raises(BackupFailed, match="choose a folder outside of it"):
        await back_up(settings, tmp_path / within / "backup")

    assert not (tmp_path / within).exists()
