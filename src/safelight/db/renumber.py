"""Events bear the id of their transaction, which means something only on the server that gave it."""

from __future__ import annotations

import asyncpg
import structlog

from safelight.db.statements import load

_SQL = load("feed")

log = structlog.get_logger(__name__)


async def renumber_restored(connection: asyncpg.Connection) -> bool:
    """No event or notice bears a number that this server has not given yet. Whether there were any: then every row is
    numbered anew, and positions that readers hold are refused, because what came after them is not known.

    Rows out of a dump of another server would else come after all that happens here, for as long as its numbers are
    ahead. Whoever runs this at the same time waits. Takes a connection outside a transaction.
    """
    async with connection.transaction():
        await connection.execute("SET LOCAL search_path = safelight; SET LOCAL statement_timeout = 0")
        if not await connection.fetchval(_SQL.is_numbered_elsewhere):
            return False
        await connection.execute(_SQL.take_turn_at_numbering)
        if not await connection.fetchval(_SQL.is_numbered_elsewhere):
            return False
        await connection.execute(_SQL.raise_feed_epoch)
        await connection.execute(_SQL.renumber_events)
        await connection.execute(_SQL.renumber_notices)
    log.warning("the events came from another server and were numbered anew; readers of the feed start again")
    return True
