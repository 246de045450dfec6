"""A Safelight to measure: real processes and a real database in a folder of their own, gone afterwards."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import psutil

from safelight.db.embedded import EmbeddedServer, running_dsn
from safelight.settings import environment_of_its_own

READY_SECONDS = 60.0
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.01
_PROBE = Path(__file__).parent / "probe"
_PLUGIN = Path(__file__).parent / "plugin"


@dataclass(kw_only=True)
class Installation:
    """One home and the `serve` that runs in it; `http` keeps its connection open, as a good caller does.

    `probe` is what its processes write about themselves into `{home}/probe`: see `benchmarks/probe`. `server_home` is
    that of its PostgreSQL, where `settings` name a database that is not its own.
    """

    home: Path
    port: int
    settings: Mapping[str, object]
    http: httpx2.AsyncClient
    probe: str | None = None
    server_home: Path | None = None
    _process: asyncio.subprocess.Process | None = field(default=None, init=False)

    @property
    def log(self) -> Path:
        return self.home / "serve.log"

    @property
    def dsn(self) -> str:
        """Of the database that it is told to use, or of the embedded PostgreSQL that runs here."""
        if told := self.settings.get("database_url"):
            return str(told)
        dsn = running_dsn(self.home)
        assert dsn is not None, "the server runs while `serve` does"
        return dsn

    async def start(self) -> float:
        """Seconds from the process's start until `/readyz` says yes."""
        began = time.perf_counter()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "safelight",
                "serve",
                cwd=self.home,  # where no safelight.toml of the developer lies
                env=self._environment(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(READY_SECONDS):
            while not await self._is_ready():
                if self._process.returncode is not None:
                    raise RuntimeError(f"`serve` ended before it was ready:\n{self.log.read_text()[-2000:]}")
                await asyncio.sleep(_POLL_SECONDS)
        return time.perf_counter() - began

    async def stop(self) -> float:
        """Seconds from SIGTERM until everything that `serve` started is gone."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return 0.0
        told_at = time.perf_counter()
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()  # its children notice, and stop
            await process.wait()
            raise
        return time.perf_counter() - told_at

    async def post(self, path: str, body: object = None) -> dict[str, Any]:
        """The answer's document. Raises httpx2.HTTPStatusError."""
        response = await self.http.post(path, json=body) if body is not None else await self.http.post(path)
        return response.raise_for_status().json()

    async def get(self, path: str, **query: int) -> dict[str, Any]:
        return (await self.http.get(path, params=query)).raise_for_status().json()

    async def ended(self, job_id: str) -> dict[str, Any]:
        """The job once it has ended; the service holds its answer back until then."""
        while True:
            job = await self.get(f"/v1/jobs/{job_id}", wait=20)
            if job["status"] not in ("pending", "generating", "canceling"):
                return job

    def processes(self) -> dict[str, psutil.Process]:
        """Ours by name: `serve`, `api`, `worker`, and `render` for the worker's child, if it has one by now."""
        assert self._process is not None
        named = {"serve": psutil.Process(self._process.pid)}
        for name, file in (("api", "api.pid"), ("worker", "worker-1.pid")):
            named[name] = psutil.Process(int((self.home / "run" / file).read_text()))
        if children := named["worker"].children():
            named["render"] = children[0]
        return named

    def postgres(self) -> psutil.Process:
        """The postmaster; its backends are its children."""
        home = self.server_home or self.home
        return psutil.Process(int((home / "pg" / "data" / "postmaster.pid").read_text().split()[0]))

    def cpu_seconds(self) -> dict[str, float]:
        """What the worker, its render children, the API and PostgreSQL have used since they started."""
        named = self.processes()
        own = named["worker"].cpu_times()
        worker = own.user + own.system
        return {
            "worker": worker,
            "render": cpu_seconds(named["worker"]) - worker,
            "api": cpu_seconds(named["api"]),
            "postgres": cpu_seconds(self.postgres()),
        }

    def probed(self, name: str) -> list[str]:
        """The lines that a process has written about itself so far; by the name that `processes` gives it."""
        pid = self.processes()[name].pid
        return (self.home / "probe" / f"{pid}.{self.probe}").read_text().splitlines()

    def _environment(self) -> dict[str, str]:
        own = {"home": self.home, "bind": f"127.0.0.1:{self.port}", "log_level": "warning"}
        environment = environment_of_its_own({**own, **self.settings})
        path = [str(_PLUGIN), *filter(None, [environment.get("PYTHONPATH")])]
        if self.probe is None:
            return {**environment, "PYTHONPATH": os.pathsep.join(path)}
        folder = self.home / "probe"
        folder.mkdir(exist_ok=True)
        path = os.pathsep.join([str(_PROBE), *path])
        return {**environment, "PYTHONPATH": path, "BENCH_PROBE": self.probe, "BENCH_PROBE_FOLDER": str(folder)}

    async def _is_ready(self) -> bool:
        try:
            return (await self.http.get("/readyz")).status_code == 200
        except httpx2.HTTPError:
            return False


@asynccontextmanager
async def prepared(
    folder: Path | None, *, probe: str | None = None, server_home: Path | None = None, **settings: object
) -> AsyncIterator[Installation]:
    """An installation that has not started, below `folder`; whatever happens, nothing of it stays."""
    with home_below(folder) as home:
        port = _free_port()
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60.0) as http:
            installation = Installation(
                home=home, port=port, settings=settings, http=http, probe=probe, server_home=server_home
            )
            try:
                yield installation
            finally:
                await installation.stop()


@asynccontextmanager
async def running(
    folder: Path | None, *, probe: str | None = None, server_home: Path | None = None, **settings: object
) -> AsyncIterator[Installation]:
    """An installation that is ready."""
    async with prepared(folder, probe=probe, server_home=server_home, **settings) as installation:
        await installation.start()
        yield installation


@asynccontextmanager
async def connected(installation: Installation) -> AsyncIterator[asyncpg.Connection]:
    """A look past the API at the installation's database."""
    connection = await asyncpg.connect(installation.dsn, server_settings={"search_path": "safelight"})
    try:
        yield connection
    finally:
        await connection.close()


@contextmanager
def home_below(folder: Path | None) -> Iterator[Path]:
    """A home that any OS user may enter, as an embedded PostgreSQL wants it when root runs this."""
    home = Path(tempfile.mkdtemp(prefix="safelight-bench-", dir=folder))
    home.chmod(0o755)
    try:
        yield home
    finally:
        EmbeddedServer(home).destroy()
        shutil.rmtree(home)


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process, of those below it, and of those below it that have ended."""
    total = 0.0
    for each in (process, *process.children(recursive=True)):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:  # then its parent has its time by now, or it was nothing
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]
