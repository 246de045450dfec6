"""`safelight upgrade-database`: the embedded database's data in the version of PostgreSQL that Safelight carries."""

from __future__ import annotations

import fcntl
from pathlib import Path

from safelight.cli.complaint import Complaint, read_settings


def upgrade_database(old_bin_path: Path | None) -> int:
    """Says what was done. Raises Complaint, and EmbeddedServerError for what an operator has to put right."""
    from safelight.db.placement import MAJOR
    from safelight.db.upgrade import upgrade

    settings = read_settings()
    if settings.database_url is not None:
        raise Complaint(
            "SAFELIGHT_DATABASE_URL names a PostgreSQL of your own: upgrade it by its own means, such as pg_upgrade"
        )
    refuse_beside_serve(settings.home)
    done = upgrade(settings.home, old_bin_path=old_bin_path and old_bin_path.absolute())
    if done is None:
        print(f"nothing to do: there is no data of another version than PostgreSQL {MAJOR}")
        return 0
    print(f"the database is one of PostgreSQL {MAJOR} now")
    print(f"the old data, of PostgreSQL {done.major}, is kept in {done.kept}; delete it when you are content")
    print("readers of GET /v1/events start again: their positions counted in the old server's transactions")
    return 0


def refuse_beside_serve(home: Path) -> None:
    """Raises Complaint while `safelight serve` runs in this home."""
    lock = home / "run" / "serve.lock"
    if not lock.exists():
        return
    with lock.open() as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Complaint(f"`safelight serve` runs in `{home}`: stop it first") from None
