"""Our schema as one file, and back: PostgreSQL's own programs, as they come with the embedded server.

They read servers of their own major version and older, and restore into any that Safelight works with. A dump names no
owner and no rights: whoever restores it owns what is restored. Cancelled, none of them goes on.
"""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from safelight.db.placement import wheel_binaries

SCHEMA = "safelight"

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "safelight backup"}

# pg_restore itself says this to every server, and one before PostgreSQL 17 does not know it.
_NO_TIMEOUT = b"SET transaction_timeout = 0;"
_NO_TIMEOUT_IF_KNOWN = (
    b"SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'transaction_timeout';"
)
_LAST_LINE_OF_ITS_KIND = b"SET client_encoding"
_STEP_BYTES = 1 << 20


class DumpFailed(RuntimeError):
    """pg_dump, pg_restore or psql gave up; the message holds its own words."""


async def dump(dsn: str, file: Path, *, snapshot: str | None = None) -> None:
    """`file` holds our schema as one moment has it, whoever writes meanwhile; `snapshot` names that moment, and has to
    be held by an open transaction. Raises DumpFailed: what is in `file` then is of no use."""
    words = ["--format=custom", f"--schema={SCHEMA}", "--no-owner", "--no-privileges", f"--file={file}"]
    if snapshot is not None:
        words.append(f"--snapshot={snapshot}")
    async with _started("pg_dump", *words, dsn=dsn) as process:
        await process.wait()


async def restore(dsn: str, file: Path) -> None:
    """The database has the schema of the dump, which it did not have before; all of it or nothing. Raises
    DumpFailed."""
    into = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--set=VERBOSITY=terse", "--file=-")
    out_of = ("--no-owner", "--no-privileges", "--file=-", str(file))
    async with _started("psql", *into, dsn=dsn, stdin=PIPE) as psql:
        assert psql.stdin is not None
        with suppress(ConnectionError):  # it has given up, and says why
            psql.stdin.write(b"BEGIN;\n")
            async with _started("pg_restore", *out_of, stdout=PIPE) as pg_restore:
                async for part in _script(pg_restore):
                    psql.stdin.write(part)
                    await psql.stdin.drain()
                await pg_restore.wait()
            psql.stdin.write(b"COMMIT;\n")  # without it, what was written is undone
            await psql.stdin.drain()
        psql.stdin.close()
        await psql.wait()


async def _script(pg_restore: Process) -> AsyncIterator[bytes]:
    """What restores the dump, a part at a time, in words that every server knows."""
    assert pg_restore.stdout is not None
    while line := await pg_restore.stdout.readline():
        yield line.replace(_NO_TIMEOUT, _NO_TIMEOUT_IF_KNOWN)
        if line.startswith(_LAST_LINE_OF_ITS_KIND):
            break
    while part := await pg_restore.stdout.read(_STEP_BYTES):
        yield part


@asynccontextmanager
async def _started(
    program: str, *words: str, dsn: str | None = None, stdin: int = DEVNULL, stdout: int = DEVNULL
) -> AsyncIterator[Process]:
    """Whoever uses it waits for its end. Raises DumpFailed when that is not a success."""
    address, password = (None, None) if dsn is None else _without_password(dsn)
    target = () if address is None else ("--no-password", f"--dbname={address}")
    process = await asyncio.create_subprocess_exec(
        *(wheel_binaries() / program, *target, *words),
        env=_connection_settings() | _ENVIRONMENT | ({"PGPASSWORD": password} if password else {}),
        stdin=stdin,
        stdout=stdout,
        stderr=PIPE,
        umask=0o077,  # a dump holds prompts and the hashes of keys
    )
    assert process.stderr is not None
    listening = asyncio.create_task(process.stderr.read())
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        said = await listening
    if process.returncode != 0:
        complaint = said.decode(errors="replace").strip()[-2000:]
        raise DumpFailed(f"{program}: {complaint or f'exit status {process.returncode}'}")


def _connection_settings() -> dict[str, str]:
    """What asyncpg reads too, such as PGUSER, PGPASSFILE and PGSSLROOTCERT, and where `~/.pgpass` lies."""
    environment = dict(os.environ)  # noqa: TID251 - they are PostgreSQL's settings, and none of ours
    of_others = {"PGHOSTADDR"}  # asyncpg does not know it, and both have to reach the same server
    names = {name for name in environment if name == "HOME" or name.startswith("PG")} - of_others
    return {name: environment[name] for name in names}


def _joined(parts: SplitResult) -> str:
    # `urlunsplit` leaves the slashes out where there is no host, and PostgreSQL takes that for no address.
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")


def _without_password(dsn: str) -> tuple[str, str | None]:
    """The address as others may read it in the list of processes, and the password."""
    parts = urlsplit(dsn)
    options = parse_qsl(parts.query, keep_blank_values=True)
    password = next((value for name, value in options if name == "password"), None)
    if password is not None:
        kept = [(name, value) for name, value in options if name != "password"]
        parts = parts._replace(query=urlencode(kept, quote_via=quote))
    if parts.password is not None:
        user, host = quote(unquote(parts.username or ""), safe=""), parts.netloc.rpartition("@")[2]
        password, parts = unquote(parts.password), parts._replace(netloc=f"{user}@{host}")
    return (dsn, None) if password is None else (_joined(parts), password)
