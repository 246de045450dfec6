"""Our schema as one file, and back: PostgreSQL's own pg_dump and pg_restore, as they come with the embedded server.

They read servers of their own major version and older, and restore into any that is not older than the one that was
dumped. A dump names no owner and no rights: whoever restores it owns what is restored.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from safelight.db.placement import wheel_binaries

SCHEMA = "safelight"

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGCONNECT_TIMEOUT": "10", "PGAPPNAME": "safelight backup"}


class DumpFailed(RuntimeError):
    """pg_dump or pg_restore gave up; the message holds its own words."""


def dump(dsn: str, file: Path, *, snapshot: str | None = None) -> None:
    """`file` holds our schema as one moment has it, whoever writes meanwhile; `snapshot` names that moment, and has to
    be held by an open transaction. Blocks. Raises DumpFailed: what is in `file` then is of no use."""
    words = ["--format=custom", f"--schema={SCHEMA}", "--no-owner", "--no-privileges", f"--file={file}"]
    if snapshot is not None:
        words.append(f"--snapshot={snapshot}")
    _run("pg_dump", *words, dsn=dsn)


def restore(dsn: str, file: Path) -> None:
    """The database has the schema of the dump, which it did not have before; all of it or nothing. Blocks. Raises
    DumpFailed."""
    words = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", str(file)]
    _run("pg_restore", *words, dsn=dsn)


def _run(program: str, *words: str, dsn: str) -> None:
    address, password = _without_password(dsn)
    environment = _ENVIRONMENT | ({"PGPASSWORD": password} if password else {})
    command = [str(wheel_binaries() / program), "--no-password", f"--dbname={address}", *words]
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        umask=0o077,  # a dump holds prompts and the hashes of keys
    )
    if done.returncode != 0:
        raise DumpFailed(f"{program}: {done.stderr.strip()[-2000:] or f'exit status {done.returncode}'}")


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
    return (dsn, None) if password is None else (urlunsplit(parts), password)
