"""A running PostgreSQL that has our schema: the operator's, or the one that Safelight carries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from safelight.db.embedded import EmbeddedServer
from safelight.db.migrate import Migration, MigrationChanged, migrate
from safelight.db.placement import EmbeddedServerError
from safelight.db.pool import CONNECTION_LOST

_PAUSES_SECONDS: Final = (1.0, 2.0, 5.0, 10.0)
"""Between two looks whether the embedded server is there, longer while it cannot be started. Chosen."""

_REFUSALS: Final = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What a server says of its own state, and never of what is in its rows."""

log = structlog.get_logger(__name__)


class DatabaseUnusable(RuntimeError):
    """The database cannot be used as things are; the message says why, without its address."""


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is, what its schema lacked until now, and whether this process started it and so has to stop
    it."""

    dsn: str
    server: EmbeddedServer | None
    applied: Sequence[Migration] = ()

    async def stop(self) -> None:
        if self.server is not None:
            await asyncio.to_thread(self.server.stop)

    async def keep_running(self, ended: asyncio.Event) -> None:
        """An embedded server that is gone, however it went, is started again, until `ended`. For who is alone."""
        server, failures = self.server, 0
        while server is not None and not ended.is_set():
            pause = _PAUSES_SECONDS[min(failures, len(_PAUSES_SECONDS) - 1)]
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), pause)
            try:
                if not ended.is_set() and await asyncio.to_thread(lambda: server.is_gone):
                    log.warning("the database ended; starting it again")
                    await asyncio.to_thread(server.start)
                    await asyncio.to_thread(server.adopt)
                failures = 0
            except (EmbeddedServerError, OSError) as error:  # a full disk, say, which somebody may clear
                failures += 1
                log.error("the database cannot be started", detail=str(error))


async def provide_database(url: str | None, *, home: Path, alone: bool = False) -> Database:
    """Every migration is applied at `url`, or, without one, in the embedded server of `home`, which runs afterwards.

    When that breaks off, or is cancelled, no server is left behind that it started.
    `alone`: nobody else runs in this home, so an embedded server that was left behind is this process's to stop.
    Raises DatabaseUnusable, and EmbeddedServerError.
    """
    if url is not None:
        return Database(url, None, await _migrated(url))
    home.mkdir(parents=True, exist_ok=True)
    server = EmbeddedServer(home)
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    try:
        dsn = await asyncio.shield(starting)
        if alone:
            server.adopt()
        return Database(dsn, server, await _migrated(dsn))
    except BaseException:
        await asyncio.gather(starting, return_exceptions=True)  # it cannot be broken off
        await asyncio.to_thread(server.stop)
        raise


async def _migrated(dsn: str) -> list[Migration]:
    """What was applied just now."""
    try:
        conn = await asyncpg.connect(dsn, server_settings={"application_name": "safelight migrate"})
    except asyncpg.ClientConfigurationError as error:
        raise DatabaseUnusable(f"SAFELIGHT_DATABASE_URL: {error}") from None
    except (ValueError, OverflowError):  # they repeat parts of the address, maybe of its password
        raise DatabaseUnusable(
            "SAFELIGHT_DATABASE_URL is not an address: `postgresql://user@host:5432/database`"
        ) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise DatabaseUnusable(f"the database does not answer: {error or type(error).__name__}") from error
    try:
        return await migrate(conn)
    except (MigrationChanged, *_REFUSALS) as error:
        raise DatabaseUnusable(str(error)) from error
    except CONNECTION_LOST as error:
        if isinstance(error, asyncpg.InterfaceError) and not conn.is_closed():
            raise
        raise DatabaseUnusable("the database went away meanwhile") from error
    finally:
        await conn.close()
