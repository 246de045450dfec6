"""`safelight backup` and `safelight restore`: an installation as one folder, and one that is made of it again."""

from __future__ import annotations

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from safelight.cli.complaint import Complaint, read_settings


def backup(folder: Path, *, with_pictures: bool) -> int:
    """Says what was saved, and what has to be saved beside it. Raises Complaint."""
    from safelight.wiring.backup import back_up

    settings = read_settings()
    is_embedded = settings.database_url is None
    if is_embedded and not (settings.home / "pg").exists():
        raise Complaint(f"there is nothing to save in `{settings.home}`")

    async def command() -> int:
        saved = await back_up(settings, folder.absolute(), with_pictures=with_pictures)
        print(f"saved in {folder}: {saved.jobs} jobs, as of {saved.at}, and {saved.staged} staged pictures")
        if saved.pictures is not None:
            new = f"{saved.pictures.copied} copied now, {saved.pictures.copied_bytes / 2**20:.1f} MiB"
            print(f"pictures: {saved.pictures.files} ({new})")
        else:
            print("pictures are not in it: save the store by its own means, now or later")
        if saved.unstaged:
            print(f"{saved.unstaged} pictures that are paid for are not in the staging folder, and not in the backup")
        if settings.secret_key is None:
            print(f"keep {settings.home / 'secret.key'} too, in another place than this folder: it is not in it")
        return 0

    return _ended(command())


def restore(folder: Path) -> int:
    """Says what was found, and what to do before anything is bought. Raises Complaint."""
    from safelight.cli.database import refuse_beside_serve
    from safelight.cli.processes import report_restored
    from safelight.wiring.backup import restore_backup

    settings = read_settings()
    refuse_beside_serve(settings.home)

    async def command() -> int:
        report_restored(await restore_backup(settings, folder.absolute()))
        if settings.secret_key is None and not (settings.home / "secret.key").exists():
            print(f"before you start it, put your copy of secret.key into {settings.home}:")
            print("without it a new one is made, and the secrets of webhooks have to be rotated")
        return 0

    return _ended(command())


def _ended(command: Coroutine[Any, Any, int]) -> int:
    import asyncpg

    from safelight.cli.running import run
    from safelight.db.pool import CONNECTION_LOST

    try:
        return run(command)
    except (asyncpg.PostgresError, *CONNECTION_LOST) as error:
        raise Complaint(str(error) or type(error).__name__) from error
