"""Data of an older major version of PostgreSQL, carried over to the one that Safelight runs.

The old server is started once more, our schema is dumped from it and restored into a new cluster beside the old one,
and only when that is whole the two change places. The old data is never written to but by its own server, and kept:

    {home}/pg/data        the old cluster, and after the change the new one
    {home}/pg/upgrade/    the dump and the new cluster, until it takes its place, and which old server was started
    {home}/pg/data-16     the old cluster, afterwards

Wherever it breaks off, the old data is there, whole, and the same command goes on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from safelight.db.dump import DumpFailed, dump, restore
from safelight.db.embedded import EmbeddedServer, data_version, kept_data, running_server, stop_left_behind
from safelight.db.placement import (
    MAJOR,
    EmbeddedServerError,
    Placement,
    lock_at_once,
    place,
    place_older,
    private_folder,
    wheel_binaries,
)

_COMPLETE, _STARTED = "complete", "started"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """From which major version, and where its data is kept."""

    major: int
    kept: Path


def upgrade(home: Path, *, old_bin_path: Path | None = None) -> Upgraded | None:
    """The embedded server of this home has its data in the version that it runs; None when it had already, or has none.

    `old_bin_path` holds the programs of the older version, where neither the package nor the system has them. Takes
    room on the disk for two more copies of the database. Blocks: from a coroutine use `asyncio.to_thread`. Raises
    EmbeddedServerError.
    """
    if not (home / "pg").exists():
        return None
    placement = place(home)
    area, beside = placement.area, placement.area / "upgrade"
    found = data_version(area)
    if found == MAJOR or (found is None and not kept_data(area)):
        if (beside / _COMPLETE).exists() and not (beside / "data").exists():
            shutil.rmtree(beside)  # it broke off after the change
        return None
    if found is not None and found > MAJOR:
        raise EmbeddedServerError(f"The data in `{area}` is of PostgreSQL {found}, newer than {MAJOR}.")
    if found is not None:
        _prepare(placement, found, beside, old_bin_path)  # anew: an older one does not know what was done since
    elif not (beside / _COMPLETE).exists():
        raise EmbeddedServerError(
            f"`{area}/data` is gone, and no upgrade was on its way. Name `{kept_data(area)[-1]}` `data` again."
        )
    return _change_places(area, beside, found)


def _prepare(placement: Placement, major: int, beside: Path, old_bin_path: Path | None) -> None:
    """The new cluster is whole, in `beside`."""
    if (placement.area / f"data-{major}").exists():
        raise EmbeddedServerError(f"`{placement.area}/data-{major}` is in the way: an earlier upgrade kept it there.")
    _stop_left_behind(placement.area, beside)
    shutil.rmtree(beside, ignore_errors=True)
    private_folder(beside, uid=placement.uid, gid=placement.gid)
    older = place_older(placement, major=major, bin_path=old_bin_path or _installed(major))
    old = EmbeddedServer(placement.area, placement=older)
    new = EmbeddedServer(placement.area, placement=replace(placement, area=beside))
    with lock_at_once(placement.area) as free:
        if free is None:
            raise EmbeddedServerError(f"A server runs in `{placement.area}`: stop every process of Safelight first.")
    try:
        old_dsn = old.start()
        if not old.is_owner:
            raise EmbeddedServerError(f"A server was just started in `{placement.area}`: stop it first.")
        (beside / _STARTED).write_text(running_server(placement.area) or "")
        asyncio.run(dump(old_dsn, beside / "database.dump"))
        old.stop()
        asyncio.run(restore(new.start(), beside / "database.dump"))
    except DumpFailed as error:
        raise EmbeddedServerError(f"The old data is as it was. {error}") from error
    finally:
        old.stop()
        new.stop()
    (beside / _COMPLETE).touch()
    os.sync()


def _stop_left_behind(area: Path, beside: Path) -> None:
    """The servers of an upgrade that was killed: they outlive whoever starts them."""
    with suppress(FileNotFoundError):
        stop_left_behind(area, (beside / _STARTED).read_text())
    if beside.exists():
        stop_left_behind(beside, running_server(beside))


def _change_places(area: Path, beside: Path, found: int | None) -> Upgraded:
    if found is not None:
        (area / "data").rename(area / f"data-{found}")
        os.sync()
    kept = kept_data(area)[-1]
    (beside / "data").rename(area / "data")
    os.sync()
    shutil.rmtree(beside)
    return Upgraded(major=int(kept.name.removeprefix("data-")), kept=kept)


def _installed(major: int) -> Path | None:
    """Where Debian's and Red Hat's packages put that version; None for the one that the package carries."""
    try:
        wheel_binaries(major)
    except EmbeddedServerError:
        places = (Path(f"/usr/lib/postgresql/{major}/bin"), Path(f"/usr/pgsql-{major}/bin"))
        found = next((each for each in places if (each / "postgres").exists()), None)
        if found is None:
            raise EmbeddedServerError(
                f"The data is of PostgreSQL {major}, whose programs are not on this machine. Install that version, as "
                f"Debian's `postgresql-{major}` does, and name the folder of its `postgres` with `--old-bindir`."
            ) from None
        return found
    return None
