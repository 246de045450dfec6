"""A backup of an installation that may be running, as one folder, and an installation made of it again.

    database.dump   our schema, as one moment has it
    staging/        pictures that are paid for and not finished, of that moment
    blobs/          finished pictures, unless they lie in a bucket
    recipes/        the installation's own recipes
    backup.json     what it is a backup of; written last
    backup.begun    while there is no backup.json yet: the folder is ours

The secret key is not in it: whoever has it and the database can sign in the installation's name.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import asyncpg

from safelight import __version__
from safelight.db.dump import SCHEMA, DumpFailed, dump, restore
from safelight.db.embedded import EmbeddedServer
from safelight.db.migrate import migrate
from safelight.db.placement import lock_at_once
from safelight.db.pool import CONNECTION_LOST
from safelight.db.statements import load
from safelight.domain.errors import SafelightError
from safelight.engine.upkeep.restore import Restored
from safelight.settings import RESTORING, Settings
from safelight.storage.copying import Copied, Present, copy_files, copy_staged
from safelight.storage.local import MARKER
from safelight.storage.place import Folder
from safelight.storage.staging import SIDECAR
from safelight.wiring.parts import take_stock

_FORMAT = 1
_DUMP, _SHEET, _BEGUN = "database.dump", "backup.json", "backup.begun"
_TRIES = 5

_SQL = load("restore")

_GONE = (*(each for each in CONNECTION_LOST if each is not OSError),)
"""What a lost connection raises; files raise OSError."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


class BackupFailed(SafelightError):
    """Nothing was saved, or restored; the message says why."""

    slug = "backup-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup folder holds. `pictures` is None where they lie in a bucket, or were left out; `unstaged` counts
    pictures that the database expects in `staging/` and that were not there."""

    at: str
    safelight: str
    migration: int
    jobs: int
    staged: int
    unstaged: int
    pictures: Copied | None = None


async def back_up(settings: Settings, folder: Path, *, with_pictures: bool = True) -> Backup:
    """`folder` is a backup of this moment, durably. One that holds an earlier backup is brought up to date: pictures
    that lie there are not copied again. Whoever works meanwhile is not disturbed. Raises BackupFailed and OSError."""
    for ours in _saved_folders(settings):
        if folder.resolve().is_relative_to(ours.resolve()):
            raise BackupFailed(f"`{folder}` lies in `{ours}`, which is saved: choose a folder outside of it")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock_at_once(folder) as lock:
        if lock is None:
            raise BackupFailed(f"another backup into `{folder}` is under way")
        return await _back_up(settings, folder, with_pictures=with_pictures)


async def _back_up(settings: Settings, folder: Path, *, with_pictures: bool) -> Backup:
    is_ours = (folder / _SHEET).exists() or (folder / _BEGUN).exists()
    if not is_ours and any(folder.iterdir()):
        raise BackupFailed(f"`{folder}` is neither empty nor an earlier backup: choose another folder")
    async with _database(settings) as dsn, _connection(dsn) as conn:
        if await conn.fetchval("SELECT to_regclass('safelight.migrations')") is None:
            raise BackupFailed("there is nothing to save: the database has no tables of Safelight's")
        if with_pictures:
            await _require_store(conn, settings)
        (folder / _BEGUN).touch()
        moment = await _save_moment(conn, dsn, settings, folder)
    pictures = None
    if with_pictures and isinstance(place := settings.place, Folder):
        pictures = await _to_its_end(copy_files, place.root, folder / "blobs")
    if (recipes := settings.home / "recipes").is_dir():
        await _to_its_end(copy_files, recipes, folder / "recipes", present=Present.REPLACED, links=True)
    backup = replace(moment, pictures=pictures)
    await _to_its_end(_put_in_place, folder, backup)
    return backup


async def restore_backup(settings: Settings, folder: Path) -> Restored:
    """This installation, which had no database, is the one that was saved: with buying paused, what is staged put to
    use, and what may be bought twice told. Files that lie here already are kept. Broken off, it can be run again.

    Raises BackupFailed and OSError.
    """
    sheet = _sheet(folder)
    if sheet.get("format") != _FORMAT:
        raise BackupFailed(f"`{folder}` holds no backup that is whole: there is no `{_SHEET}` that this version reads")
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    under_way = settings.home / RESTORING
    async with _database(settings) as dsn:
        async with _connection(dsn) as conn:
            is_there = await conn.fetchval("SELECT to_regnamespace($1) IS NOT NULL", SCHEMA)
            begun = under_way.read_text(encoding="utf-8") if under_way.exists() else None
            is_ours = is_there and begun == sheet["at"] and await _holds(conn, sheet)
        if is_there and not is_ours:
            raise BackupFailed("there is a database already: restore into a new SAFELIGHT_HOME, or an empty database")
        if not is_ours:
            under_way.write_text(sheet["at"], encoding="utf-8")
        await asyncio.to_thread(_bring_files, settings, folder)
        if not is_there:
            try:
                await restore(dsn, folder / _DUMP)
            except DumpFailed as error:
                raise BackupFailed(str(error)) from error
        await migrate(dsn)
        found = await take_stock(settings, dsn)
        under_way.unlink()
    return found


async def _holds(conn: asyncpg.Connection, sheet: dict[str, Any]) -> bool:
    """Whether a restore that broke off has brought this backup here: nobody else has made the database meanwhile."""
    if await conn.fetchval("SELECT to_regclass('safelight.migrations')") is None:
        return False
    row = await conn.fetchrow(_SQL.moment_of_backup)
    return row is not None and row["jobs"] == sheet["jobs"] and row["migration"] >= sheet["migration"]


async def _save_moment(conn: asyncpg.Connection, dsn: str, settings: Settings, folder: Path) -> Backup:
    """Dump and staged pictures are of one moment, under names that no restore looks at.

    A picture that was staged after the first look and finished before the second is in neither, and a database of a
    moment between them would call it lost: then another moment is taken. Raises BackupFailed.
    """
    source, staging = settings.home / "staging", folder / "staging.new"
    shutil.rmtree(staging, ignore_errors=True)
    (folder / f"{_DUMP}.new").unlink(missing_ok=True)  # a pg_dump that outlives its backup goes on writing to its own
    tries = 0
    while True:
        tries += 1
        await _to_its_end(copy_staged, source, staging)
        async with conn.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await conn.fetchval("SELECT pg_export_snapshot()")
            staged = await _to_its_end(copy_staged, source, staging)
            expected = {row["id"] for row in await conn.fetch(_SQL.pictures_staged)}
            missing = expected - staged if isinstance(settings.place, Folder) else set()
            if missing and tries < _TRIES:
                continue
            row = await conn.fetchrow(_SQL.moment_of_backup)
            assert row is not None
            try:
                await dump(dsn, folder / f"{_DUMP}.new", snapshot=snapshot)
            except DumpFailed as error:
                raise BackupFailed(str(error)) from error
        return Backup(
            at=row["at"].isoformat(),
            safelight=__version__,
            migration=row["migration"],
            jobs=row["jobs"],
            staged=len(staged),
            unstaged=len(missing),
        )


def _put_in_place(folder: Path, backup: Backup) -> None:
    """Wherever it breaks off, there is a dump, and all that lay staged at its moment: what is staged besides is either
    of the other moment, and used if it is not finished, or left alone."""
    os.sync()
    new, staging = folder / "staging.new", folder / "staging"
    staging.mkdir(mode=0o700, exist_ok=True)
    staged = sorted(new.iterdir(), key=lambda path: path.suffix == SIDECAR)  # a receipt has its picture
    for path in staged:
        path.replace(staging / path.name)
    os.sync()
    (folder / f"{_DUMP}.new").rename(folder / _DUMP)
    sheet = folder / f"{_SHEET}.new"
    sheet.write_text(json.dumps({"format": _FORMAT, **asdict(backup)}, indent=2) + "\n", encoding="utf-8")
    sheet.rename(folder / _SHEET)
    os.sync()
    (folder / _BEGUN).unlink(missing_ok=True)
    names = {path.name for path in staged}
    for path in sorted(staging.iterdir(), key=lambda path: path.suffix != SIDECAR):
        if path.name not in names:
            path.unlink()
    new.rmdir()


def _bring_files(settings: Settings, folder: Path) -> None:
    place = settings.place
    if isinstance(place, Folder) and (folder / "blobs").is_dir():
        copy_files(folder / "blobs", place.root)
    if (folder / "staging").is_dir():
        copy_files(folder / "staging", settings.home / "staging")
    if (folder / "recipes").is_dir():
        copy_files(folder / "recipes", settings.home / "recipes", present=Present.KEPT)
    os.sync()


def _saved_folders(settings: Settings) -> list[Path]:
    folders = [settings.home / name for name in ("staging", "recipes", "pg")]
    return [*folders, place.root] if isinstance(place := settings.place, Folder) else folders


async def _require_store(conn: asyncpg.Connection, settings: Settings) -> None:
    """Raises BackupFailed where the pictures' folder is not the one that the database belongs to: one that is not
    mounted is empty, and would be saved as such. Raises OSError when it cannot be read."""
    markers, place = await conn.fetchval("SELECT store_marker FROM installation"), settings.place
    if markers is None or not isinstance(place, Folder):
        return
    of_store, found = markers.partition(" ")[0], None
    with suppress(FileNotFoundError):
        found = (place.root / MARKER).read_text()
    if found != of_store:
        raise BackupFailed(f"`{place.root}` does not hold the pictures of this database: is it mounted?")


async def _to_its_end(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What `work` returns, done in a thread. Cancelled, it waits all the same: a thread goes on, and the folder has to
    stay locked for as long."""
    thread = asyncio.get_running_loop().run_in_executor(None, partial(work, *args, **kwargs))
    try:
        return await asyncio.shield(thread)
    finally:
        await asyncio.wait([thread])


def _sheet(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / _SHEET).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    """The address of the installation's database, as it is: no migration is applied. An embedded server that was not
    running is stopped again."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    server = EmbeddedServer(settings.home)
    dsn = await asyncio.to_thread(server.start)
    try:
        yield dsn
    finally:
        await asyncio.to_thread(server.stop)


@asynccontextmanager
async def _connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """One without time limits: it holds its transaction for as long as the dump takes. Raises BackupFailed when it is
    lost, and for an address that is none."""
    unlimited = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "search_path": SCHEMA}
    try:
        conn = await asyncpg.connect(dsn, server_settings={"application_name": "safelight backup", **unlimited})
    except asyncpg.ClientConfigurationError:
        raise  # it says what is wrong with an option; the others repeat parts of the address, maybe of its password
    except ValueError:
        raise BackupFailed("SAFELIGHT_DATABASE_URL is not an address: `postgresql://user@host:5432/database`") from None
    try:
        yield conn
    except _GONE as error:
        if isinstance(error, asyncpg.InterfaceError) and not conn.is_closed():
            raise
        raise BackupFailed("the database went away meanwhile") from error
    finally:
        await conn.close()
