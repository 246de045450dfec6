"""What all contestants run on: one PostgreSQL of our own, with its full durability, and a Redis where there is one."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from benchmarks.installation import cpu_seconds, home_below
from safelight.db.embedded import EmbeddedServer

_READY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """`home` is of the PostgreSQL server, whose `dsn` names its `postgres` database."""

    folder: Path | None
    home: Path
    dsn: str

    async def fresh_database(self, name: str) -> str:
        """An empty one, and nothing left to write of those before it; returns its DSN."""
        connection = await asyncpg.connect(self.dsn)
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.execute("CHECKPOINT")
        await connection.close()
        return self.dsn.replace("/postgres?", f"/{name}?")

    async def drop_database(self, name: str) -> None:
        connection = await asyncpg.connect(self.dsn)
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()

    def postgres_cpu_seconds(self) -> float:
        """Of all its processes since it started."""
        return cpu_seconds(psutil.Process(int((self.home / "pg/data/postmaster.pid").read_text().split()[0])))


@asynccontextmanager
async def open_stage(folder: Path | None) -> AsyncIterator[Stage]:
    """Gone afterwards, data and all."""
    with home_below(folder) as home:
        dsn = await asyncio.to_thread(EmbeddedServer(home).start)
        yield Stage(folder=folder, home=home, dsn=dsn)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """`url` as Celery writes it."""

    url: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process)


def has_redis() -> bool:
    return shutil.which("redis-server") is not None


@asynccontextmanager
async def running_redis(folder: Path | None) -> AsyncIterator[Redis]:
    """Empty, on a socket file, with its log of writes on and synced once a second, as it comes; gone afterwards."""
    with home_below(folder) as home:
        socket = home / "redis.sock"
        options = {"port": 0, "unixsocket": socket, "dir": home, "appendonly": "yes", "appendfsync": "everysec"}
        process = await asyncio.create_subprocess_exec(
            "redis-server",
            *(str(word) for name, value in options.items() for word in (f"--{name}", value)),
            *("--save", ""),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while not await _answers(socket):  # noqa: ASYNC110 - nobody here could set an event
                    await asyncio.sleep(0.01)
            yield Redis(url=f"redis+socket://{socket}", process=psutil.Process(process.pid))
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _answers(socket: Path) -> bool:
    try:
        reader, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    writer.write(b"PING\r\n")
    answer = await reader.readline()
    writer.close()
    return answer.startswith(b"+PONG")
