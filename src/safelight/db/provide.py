"""A running PostgreSQL that has our schema: the operator's, or the one that Safelight carries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from safelight.db.embedded import EmbeddedServer
from safelight.db.migrate import migrate


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is, and whether this process started it and so has to stop it."""

    dsn: str
    server: EmbeddedServer | None

    async def stop(self) -> None:
        if self.server is not None:
            await asyncio.to_thread(self.server.stop)


async def provide_database(url: str | None, *, home: Path, alone: bool = False) -> Database:
    """Every migration is applied at `url`, or, without one, in the embedded server of `home`, which runs afterwards.

    `alone`: nobody else runs in this home, so an embedded server that was left behind is this process's to stop.
    """
    if url is not None:
        await migrate(url)
        return Database(url, None)
    home.mkdir(parents=True, exist_ok=True)
    server = EmbeddedServer(home)
    dsn = await asyncio.to_thread(server.start)
    if alone:
        server.adopt()
    await migrate(dsn)
    return Database(dsn, server)
