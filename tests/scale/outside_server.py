"""A PostgreSQL as an operator has one: reached over TCP with a password, and nothing of Safelight's own.

The system's server where one is installed (Debian keeps them below /usr/lib/postgresql), else the one of the wheel. Its
superuser has a password that Safelight is never told.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import asyncpg

from safelight.db.placement import Placement, place
from tests.crash.processes import free_port

ROLE = "safelight"
_SYSTEM = Path("/usr/lib/postgresql")
_NEEDED = ("initdb", "postgres")
_OLDEST = 14
_START_SECONDS = 60.0

_LEASH = """
import signal, subprocess, sys
server = subprocess.Popen(
    sys.argv[3:], stdin=subprocess.DEVNULL, user=int(sys.argv[1]), group=int(sys.argv[2]), extra_groups=[], cwd="/"
) if int(sys.argv[1]) else subprocess.Popen(sys.argv[3:], stdin=subprocess.DEVNULL)
sys.stdin.read()  # ends when the tests do, however they do
server.send_signal(signal.SIGQUIT)
server.wait()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideServer:
    """`is_system`: it is the system's own, not the wheel's."""

    port: int
    version: str
    bin_path: Path
    is_system: bool
    superuser_password: str = field(repr=False)

    @property
    def superuser_dsn(self) -> str:
        return f"postgresql://postgres:{self.superuser_password}@127.0.0.1:{self.port}/postgres"

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The DSN of an empty database whose owner is a role that may do nothing else; both are gone afterwards."""
        name, password = f"{ROLE}_{token_hex(4)}", token_hex(16)
        server = await asyncpg.connect(self.superuser_dsn)
        try:
            rights = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
            await server.execute(f"CREATE ROLE {name} LOGIN {rights} PASSWORD '{password}'")
            await server.execute(f"CREATE DATABASE {name} OWNER {name}")
            await server.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
            yield f"postgresql://{name}:{password}@127.0.0.1:{self.port}/{name}"
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await server.execute(f"DROP ROLE {name}")
        finally:
            await server.close()


@contextmanager
def running_outside_server() -> Iterator[OutsideServer]:
    """Gone when the block or this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="safelight-outside-"))
    folder.chmod(0o755)
    try:
        placed = place(folder)
        bin_path = _system_binaries() or placed.bin_path
        password, port = token_hex(16), free_port()
        _make_cluster(bin_path, placed, password)
        with _running(bin_path, placed, port):
            version = _said(bin_path / "postgres", "--version")
            server = OutsideServer(
                port=port,
                version=version,
                bin_path=bin_path,
                is_system=bin_path != placed.bin_path,
                superuser_password=password,
            )
            asyncio.run(_answers(server))
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _system_binaries() -> Path | None:
    """Of the newest server that Safelight supports; a package of clients only has no `initdb`."""
    folders = [each / "bin" for each in (_SYSTEM.iterdir() if _SYSTEM.is_dir() else ()) if each.name.isdecimal()]
    found = {int(each.parent.name): each for each in folders if all((each / name).exists() for name in _NEEDED)}
    newest = max(found, default=0)
    return found[newest] if newest >= _OLDEST else None


def _make_cluster(bin_path: Path, placed: Placement, password: str) -> None:
    secret = placed.area / "superuser"
    secret.write_text(password)
    secret.chmod(0o644)  # the folder around it is 0700
    options = ("--auth=scram-sha-256", "--username=postgres", f"--pwfile={secret}", "--encoding=UTF8", "--no-locale")
    command = [bin_path / "initdb", f"--pgdata={placed.area / 'outside'}", "--no-sync", *options]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **placed.identity())
    assert done.returncode == 0, done.stderr


@contextmanager
def _running(bin_path: Path, placed: Placement, port: int) -> Iterator[None]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_connections": 200,
        "fsync": "off",
        "log_error_verbosity": "terse",
    }
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    identity: dict[str, Any] = placed.identity()
    whose = (str(identity.get("user", 0)), str(identity.get("group", 0)))
    log = placed.area.parent / "server.log" if not placed.area.is_symlink() else placed.area / "server.log"
    with log.open("wb") as said:
        leash = subprocess.Popen(
            [sys.executable, "-c", _LEASH, *whose, bin_path / "postgres", "-D", placed.area / "outside", *words],
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    try:
        yield
    finally:
        leash.communicate()


async def _answers(server: OutsideServer) -> None:
    """Returns when it takes connections."""
    give_up_at = time.monotonic() + _START_SECONDS
    while True:
        try:
            connection = await asyncpg.connect(server.superuser_dsn, timeout=5)
        except (OSError, asyncpg.CannotConnectNowError):
            assert time.monotonic() < give_up_at, "PostgreSQL does not come up"
            await asyncio.sleep(0.05)
        else:
            await connection.close()
            return


def _said(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
