"""Connections as our SQL expects them: our schema, short timeouts, JSON as Python values."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import asyncpg
import orjson

from safelight.metrics import POOL_IDLE, POOL_SIZE, POOL_WAITING, Family, family

ACQUIRE_SECONDS: Final = 5.0
"""How long a transaction waits for a free connection before TimeoutError. Chosen."""

ASIDE_SECONDS: Final = 5.0
"""How long a transaction may be busy elsewhere, with a store say, before TimeoutError. Chosen: half of what the server
grants, after which it takes the transaction's locks away."""

CONNECTION_LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InternalClientError,  # a connection that was cut while asyncpg was busy with it
    OSError,
)
"""What a connection that breaks in the middle of a statement raises: whether it was committed, nobody has said."""

TRANSIENT: Final = (
    *CONNECTION_LOST,
    TimeoutError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InsufficientResourcesError,
)
"""What may not happen again when the same is tried a moment later."""

_COMMAND_SECONDS: Final = 10.0
"""Beyond the server's own timeout: a network that swallows packets is noticed here. Chosen."""

_SETTINGS: Final = {
    # PostgreSQL looks into pg_catalog first unless it is listed: so `now()` stays the server's, also for
    # PgQueuer, and our clock is reached by its full name, `safelight.now()`, only.
    "search_path": "safelight",
    # Chosen. Statements here take milliseconds: one that takes seconds waits for what will not come.
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
    # Whatever the server's own default is: what was answered is kept.
    "synchronous_commit": "on",
    # Until PostgreSQL 17 a scan that is switched off costs 10^10, which has every statement that cannot do without one
    # compiled each time it is run: hundreds of milliseconds for reading one row of `installation`.
    "jit": "off",
}

_FOR_QUEUES: Final = {
    "plan_cache_mode": "force_generic_plan",
    # A plan that is made while a table is small is used when it has grown.
    "enable_seqscan": "off",
    # Rows that are wanted for a moment leave dead entries in their indexes: an index scan marks those that it meets,
    # and a bitmap scan meets them every time.
    "enable_bitmapscan": "off",
}

_FOR_HINTS: Final = {
    # A power cut may take the last moments of these commits along, never one without all that came after it: whatever
    # was built on them and is durable has them.
    "synchronous_commit": "off",
}


async def open_pool(
    dsn: str,
    *,
    min_size: int,
    max_size: int,
    application_name: str,
    jsonb_as_values: bool = True,
    for_queues: bool = False,
    for_hints: bool = False,
) -> asyncpg.Pool:
    """A pool with `min_size` connections open. `jsonb` is a Python value on both sides.

    PgQueuer encodes its own JSON: its connections need `jsonb_as_values=False`. `for_queues`: for the
    same few statements all the time, about few rows that come and go; each is planned once per connection. `for_hints`:
    its commits are not waited for until they are on the medium. Only for what is done again if it is lost.
    """
    return await asyncpg.create_pool(
        dsn,
        min_size=min_size,
        max_size=max_size,
        command_timeout=_COMMAND_SECONDS,
        connection_class=_Connection,
        init=_jsonb_as_values if jsonb_as_values else None,
        reset=_reset,
        server_settings=_settings(application_name)
        | (_FOR_QUEUES if for_queues else {})
        | (_FOR_HINTS if for_hints else {}),
    )


async def connect(
    dsn: str, *, application_name: str, timeout_seconds: int = 10, jsonb_as_values: bool = True
) -> asyncpg.Connection:
    """One connection of its own, for what must not wait for a free one: heartbeats, LISTEN."""
    connection = await asyncpg.connect(
        dsn,
        timeout=timeout_seconds,
        command_timeout=_COMMAND_SECONDS,
        server_settings=_settings(application_name),
    )
    if jsonb_as_values:
        await _jsonb_as_values(connection)
    return connection


class _Connection(asyncpg.Connection):
    """Knows whether a statement broke off on it. Between its parsing and its execution nothing ends what the server has
    begun, and asyncpg does not know that there is anything: a snapshot is held, and the next BEGIN fails."""

    broke_off = False

    async def _execute(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._execute(*args, **kwargs)
        except BaseException:
            self.broke_off = True
            raise

    async def _executemany(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._executemany(*args, **kwargs)
        except BaseException:
            self.broke_off = True
            raise


async def _reset(connection: _Connection) -> None:
    """Nothing of ours stays on a connection but what broke off there: asyncpg's own way asks the server each time,
    which was a quarter of all round trips."""
    if connection.broke_off:
        await connection.reset()
        connection.broke_off = False


def _settings(application_name: str) -> dict[str, str]:
    return {**_SETTINGS, "application_name": application_name}


async def _jsonb_as_values(connection: Any) -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_encode, decoder=orjson.loads, format="text")


def _encode(value: object) -> str:
    return orjson.dumps(value).decode()


async def close_pool(pool: asyncpg.Pool, *, seconds: float = 5.0) -> None:
    """Every connection is closed, in good order if that takes no longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await pool.close()
    except (TimeoutError, asyncpg.PostgresError, *CONNECTION_LOST):
        pool.terminate()


def families_of(pools: Mapping[str, asyncpg.Pool]) -> list[Family]:
    """By pool: how many connections it has, how many of them nobody uses, and how many wait for one."""
    return [
        family(POOL_SIZE, {(name,): pool.get_size() for name, pool in pools.items()}),
        family(POOL_IDLE, {(name,): pool.get_idle_size() for name, pool in pools.items()}),
        family(POOL_WAITING, {(name,): _waiting(pool) for name, pool in pools.items()}),
    ]


def _waiting(pool: asyncpg.Pool) -> int:
    queue: Any = pool._queue  # asyncpg does not tell who waits: they stand in its queue's own list
    return sum(not getter.done() for getter in queue._getters)
