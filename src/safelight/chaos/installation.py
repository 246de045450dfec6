"""An installation to be ill-treated: real processes, a real database and the sandbox, in a home of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from safelight.chaos.plan import VENDORS, WORKER_SETTINGS, Plan
from safelight.db.embedded import EmbeddedServer, running_dsn
from safelight.db.migrate import migrate
from safelight.settings import environment_of_its_own

_READY_SECONDS = 90.0
_DRAIN_SECONDS = 60.0
_GONE_SECONDS = 20.0
_POLL_SECONDS = 0.05
_RESPAWN_SECONDS = 0.5


class NotReady(Exception):
    """A process did not come up; the message has its last words."""


@dataclass(slots=True, kw_only=True)
class Process:
    """A process of ours, which is started again whenever it ends unasked. It does not outlive this one: its standard
    input is a pipe that closes then."""

    name: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    home: Path
    starts: int = 0
    _process: asyncio.subprocess.Process | None = None
    _keeping: asyncio.Task[None] | None = None

    @property
    def log(self) -> Path:
        return self.home / "logs" / f"{self.name}.log"

    @property
    def pid(self) -> int | None:
        """None while there is none."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    @property
    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""

    def start(self) -> None:
        self._keeping = asyncio.create_task(self._keep_running(), name=f"keep {self.name}")

    def signal(self, number: signal.Signals) -> bool:
        """Whether there was a process to tell."""
        if self.pid is None or self._process is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
            return True
        return False

    async def stop(self) -> None:
        """It was asked to stop, and is gone; killed with all that it started if it took too long."""
        keeping, self._keeping = self._keeping, None
        if keeping is None:
            return
        keeping.cancel()
        await asyncio.wait([keeping])
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number in (signal.SIGCONT, signal.SIGTERM):
            self.signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _DRAIN_SECONDS)
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _keep_running(self) -> None:
        while True:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    *self.words,
                    cwd=self.home,  # where no safelight.toml of anybody's lies
                    env=dict(self.environment),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.starts += 1
            await self._process.wait()
            await asyncio.sleep(_RESPAWN_SECONDS)


@dataclass(slots=True, kw_only=True)
class Installation:
    """`urls` are those of its API processes; `dsn` and `server` of its database, which syncs to disk as it should. The
    store's folder is reached by a link, so that it can be taken away and given back in one step."""

    home: Path
    dsn: str
    server: EmbeddedServer
    sandbox_url: str
    urls: list[str]
    sandbox: Process
    apis: list[Process] = field(default_factory=list)
    workers: list[Process] = field(default_factory=list)

    @property
    def bill(self) -> Path:
        return self.home / "bill.jsonl"

    @property
    def store(self) -> Path:
        return self.home / "blobs"

    def take_store(self) -> None:
        """The path of the store is that of a file from now on, in one step."""
        self._point_store_at("not-a-folder")

    def give_store_back(self) -> None:
        self._point_store_at("stored")

    def _point_store_at(self, name: str) -> None:
        link = self.home / "blobs.new"
        link.symlink_to(name)
        link.replace(self.store)

    @property
    def staging(self) -> Path:
        return self.home / "staging"

    async def restart_database(self) -> float:
        """Ended as by a crash, every connection cut and nothing written out, and started again; returns how many
        seconds it was away."""
        began = time.monotonic()
        pid = int((self.home / "pg" / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        ends_at = began + _GONE_SECONDS
        while await asyncio.to_thread(running_dsn, self.home) is not None and time.monotonic() < ends_at:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)
        await asyncio.to_thread(self.server.start)
        return time.monotonic() - began

    async def end_vendor_faults(self) -> None:
        async with httpx2.AsyncClient(base_url=self.sandbox_url, timeout=30, trust_env=False) as http:
            for vendor in VENDORS:
                (await http.post("/control/faults", json={"vendor": vendor, "rates": ""})).raise_for_status()

    async def vendors_are_idle(self, seconds: float) -> bool:
        """Whether every call that the vendors took has ended."""
        async with httpx2.AsyncClient(base_url=self.sandbox_url, timeout=seconds + 10, trust_env=False) as http:
            return (await http.get("/bill", params={"wait_idle": 1, "timeout": seconds})).is_success

    async def stop_workers(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.workers))

    async def stop_apis(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.apis))


@asynccontextmanager
async def installed(home: Path, plan: Plan) -> AsyncIterator[Installation]:
    """Everything runs and is ready; after the block all of it is gone but the files. Raises NotReady."""
    server = EmbeddedServer(home)
    dsn = await asyncio.to_thread(server.start)
    running: list[Process] = []
    (home / "stored").mkdir(mode=0o700)
    (home / "not-a-folder").touch()
    (home / "blobs").symlink_to("stored")

    def process(name: str, *words: str, **settings: object) -> Process:
        found = Process(name=name, words=words, environment=environment_of_its_own(settings), home=home)
        running.append(found)
        found.start()
        return found

    try:
        await migrate(dsn)
        port = free_port()
        words = (str(port), str(home / "bill.jsonl"), str(plan.seed))
        sandbox = process("vendors", "safelight.chaos.vendors", *words)
        base_url = f"http://127.0.0.1:{port}"
        await _until_ready(sandbox, f"{base_url}/bill")
        shared = {"home": home, "database_url": dsn, "supervised": 1, **_providers(base_url), **WORKER_SETTINGS}
        apis, urls = [], []
        for number in range(1, plan.apis + 1):
            port = free_port()
            apis.append(process(f"api-{number}", "safelight.cli.child", "api", bind=f"127.0.0.1:{port}", **shared))
            urls.append(f"http://127.0.0.1:{port}")
        workers = [
            process(f"worker-{number}", "safelight.cli.child", "worker", **shared)
            for number in range(1, plan.workers + 1)
        ]
        for each, url in zip(apis, urls, strict=True):
            await _until_ready(each, f"{url}/readyz")
        yield Installation(
            home=home,
            dsn=dsn,
            server=server,
            sandbox_url=base_url,
            urls=urls,
            sandbox=sandbox,
            apis=apis,
            workers=workers,
        )
    finally:
        await asyncio.gather(*(each.stop() for each in reversed(running)))
        await asyncio.to_thread(server.stop)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _providers(sandbox_url: str) -> dict[str, object]:
    from safelight.sandbox.server import vendor_urls

    found: dict[str, object] = {"egress_allow": "http://127.0.0.0/8:*", "default_provider": "gemini"}
    urls = vendor_urls(sandbox_url)
    for vendor, model in VENDORS.items():
        prefix = f"providers__{vendor}__"
        found |= {
            f"{prefix}kind": vendor,
            f"{prefix}model": model,
            f"{prefix}base_url": urls[vendor],
            f"{prefix}api_key": "sandbox-key",
        }
    return found


async def _until_ready(process: Process, url: str) -> None:
    ends_at = time.monotonic() + _READY_SECONDS
    async with httpx2.AsyncClient(timeout=5, trust_env=False) as http:
        while time.monotonic() < ends_at:
            with contextlib.suppress(httpx2.TransportError):
                if (await http.get(url)).is_success:
                    return
            await asyncio.sleep(_POLL_SECONDS)
    raise NotReady(f"the {process.name} process does not get ready: {process.last_words}")
