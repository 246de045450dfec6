"""Whether an installation has keys, for a process that wants to know no more about them."""

from __future__ import annotations

from safelight.db.pool import connect
from safelight.db.statements import load

_SQL = load("keys")


async def has_keys(dsn: str) -> bool:
    """Whether there is, or ever was, an API key in this database."""
    connection = await connect(dsn, application_name="safelight keys")
    try:
        return bool(await connection.fetchval(_SQL.is_any))
    finally:
        await connection.close()
