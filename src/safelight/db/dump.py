"""Our schema as one file, and back: PostgreSQL's own pg_dump and pg_restore, as they come with the embedded server.

They read servers of their own major version and older, and restore into any that is not older than the one that was
dumped. A dump names no owner and no rights: whoever restores it owns what is restored. Cancelled, neither goes on.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from safelight.db.placement import wheel_binaries

SCHEMA = "safelight"

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "safelight backup"}


class DumpFailed(RuntimeError):
    """pg_dump or pg_restore gave up; the message holds its own words."""


async def dump(dsn: str, file: Path, *, snapshot: str | None = None) -> None:
    """`file` holds our schema as one moment has it, whoever writes meanwhile; `snapshot` names that moment, and has to
    be held by an open transaction. Raises DumpFailed: what is in `file` then is of no use."""
    words = ["--format=custom", f"--schema={SCHEMA}", "--no-owner", "--no-privileges", f"--file={file}"]
    if snapshot is not None:
        words.append(f"--snapshot={snapshot}")
    await _run("pg_dump", *words, dsn=dsn)


async def restore(dsn: str, file: Path) -> None:
    """The database has the schema of the dump, which it did not have before; all of it or nothing. Raises
    DumpFailed."""
    words = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", str(file)]
    await _run("pg_restore", *words, dsn=dsn)


async def _run(program: str, *words: str, dsn: str) -> None:
    address, password = _without_password(dsn)
    process = await asyncio.create_subprocess_exec(
        *(wheel_binaries() / program, "--no-password", f"--dbname={address}", *words),
        env=_connection_settings() | _ENVIRONMENT | ({"PGPASSWORD": password} if password else {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        umask=0o077,  # a dump holds prompts and the hashes of keys
    )
    try:
        _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
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
