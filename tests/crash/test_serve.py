"""`safelight serve` as an operator runs it: its processes are restarted, and an unclean stop is survived."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest

from safelight.client import SafelightClient
from safelight.db.embedded import EmbeddedServer
from safelight.db.placement import lock_at_once
from safelight.domain.lifecycle import JobStatus
from safelight.sandbox.server import RunningSandbox
from safelight.sandbox.vendor import Vendor
from safelight.settings import child_environment


@dataclass(kw_only=True)
class Service:
    """One home and the `serve` that runs in it."""

    home: Path
    sandbox: RunningSandbox
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, *words: str) -> None:
        """Returns when the API answers."""
        await self.begin(*words)
        await self.is_ready()

    async def begin(self, *words: str) -> None:
        settings = {
            "home": self.home,
            "bind": f"127.0.0.1:{self.port}",
            "providers__gemini__kind": "gemini",
            "providers__gemini__model": "gemini-3.1-flash-lite-image",
            "providers__gemini__base_url": self.sandbox.gemini_url(),
            "providers__gemini__api_key": "test-key",
            "default_provider": "gemini",
            "lease_seconds": 1,
            "grace_seconds": 0.5,
            "sweep_seconds": 0.3,
            "retry_unit_seconds": 0.05,
        }
        with (self.home / "serve.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "safelight",
                "serve",
                *words,
                env=child_environment(settings),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def is_ready(self) -> None:
        """Asked again and again, as an operator's own probe does: a service that is starting can tell nobody."""
        async with asyncio.timeout(60), httpx2.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    if (await client.get(f"{self.url}/readyz")).status_code == 200:
                        return
                except httpx2.HTTPError:
                    pass
                await asyncio.sleep(0.05)

    async def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        async with asyncio.timeout(30):
            assert await self.process.wait() == 0

    async def kill_everything(self) -> None:
        """The machine's power goes: every process of the installation at once, PostgreSQL too."""
        assert self.process is not None
        mine = psutil.Process(self.process.pid).children(recursive=True)
        server = [self.postmaster, *self.postmaster.children(recursive=True)]
        for process in (psutil.Process(self.process.pid), *mine, *server):
            if process.is_running():
                os.kill(process.pid, signal.SIGKILL)
        await self.process.wait()
        await asyncio.to_thread(psutil.wait_procs, [*mine, *server], 20)

    @property
    def postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.home / "pg" / "data" / "postmaster.pid").read_text().split()[0]))

    async def worker(self) -> psutil.Process:
        """The first one that lives. Looked for again and again: `serve` tells nobody."""
        assert self.process is not None
        async with asyncio.timeout(30):
            while True:
                for each in psutil.Process(self.process.pid).children():
                    with suppress(psutil.NoSuchProcess):
                        if each.cmdline()[-1:] == ["worker"]:
                            return each
                await asyncio.sleep(0.02)

    def pid_of(self, name: str) -> int:
        return int((self.home / "run" / f"{name}.pid").read_text())

    async def restarted(self, name: str, *, since: int) -> None:
        """Returns when the process has a new pid. Looked at again and again: `serve` tells nobody but its log."""
        async with asyncio.timeout(60):
            while True:
                try:
                    if self.pid_of(name) != since:
                        return
                except (FileNotFoundError, ValueError):
                    pass
                await asyncio.sleep(0.02)


@pytest.fixture
async def service(open_folder: Path, sandbox: RunningSandbox) -> AsyncIterator[Service]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    service = Service(home=open_folder, sandbox=sandbox, port=port)
    yield service
    if service.process is not None and service.process.returncode is None:
        service.process.kill()
        await service.process.wait()
    await asyncio.to_thread(EmbeddedServer(open_folder).destroy)


def runs_a_server(home: Path) -> bool:
    """Whether any process of an embedded server is left."""
    with lock_at_once(home / "pg") as lock:
        return lock is None


def six_images() -> dict[str, object]:
    images = [{"id": f"img-{n}", "group": "g", "prompt": f"Picture {n}"} for n in range(6)]
    return {"images": images, "defaults": {"timeout_seconds": 3}}


@asynccontextmanager
async def six_calls_under_way(service: Service) -> AsyncIterator[Vendor]:
    """Held at the vendor until the block releases them; their job is completed afterwards."""
    vendor = service.sandbox.vendor
    vendor.hold()
    async with SafelightClient(service.url) as client:
        job = (await client.submit(six_images())).job
        assert await vendor.wait_until(lambda: vendor.in_flight == 6, timeout_seconds=30)
        yield vendor
        async with asyncio.timeout(60):
            assert (await client.wait(job.id)).status is JobStatus.COMPLETED


async def test_killed_processes_come_back_and_the_job_goes_on(service: Service) -> None:
    await service.start()
    async with six_calls_under_way(service) as vendor:
        for name in ("api", "worker-1"):
            pid = service.pid_of(name)
            os.kill(pid, signal.SIGKILL)
            await service.restarted(name, since=pid)
        vendor.release()
    await service.stop()
    assert 6 <= vendor.bill.charged_calls <= 12, "each call was lost with its worker and bought again once"


async def test_an_embedded_database_that_was_killed_comes_back_and_the_job_goes_on(service: Service) -> None:
    """As when the system had no memory left: PostgreSQL starts its backends again, but nobody starts it."""
    await service.start()
    async with six_calls_under_way(service) as vendor:
        service.postmaster.kill()
        vendor.release()
    assert vendor.bill.charged_calls == 6
    await service.stop()
    assert not runs_a_server(service.home), "what was started again is stopped, too"


async def test_a_process_whose_pid_file_cannot_be_written_is_started_again_all_the_same(service: Service) -> None:
    (service.home / "run" / "worker-1.pid").mkdir(parents=True)
    await service.start()
    first = await service.worker()
    first.kill()
    await asyncio.to_thread(first.wait, 20)
    assert await service.worker() != first
    await service.stop()


async def test_where_another_program_listens_it_does_not_start_and_says_so(service: Service) -> None:
    """Else it would say that it is ready as soon as that program says yes."""
    with socket.create_server(("127.0.0.1", service.port)):
        await service.begin()
        assert service.process is not None
        async with asyncio.timeout(30):
            assert await service.process.wait() == 1
    said = (service.home / "serve.log").read_text()
    assert said.startswith(f"safelight: another program listens on `127.0.0.1:{service.port}`")
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_while_the_database_is_being_made_it_leaves_none_behind(
    number: signal.Signals, service: Service
) -> None:
    await service.begin()
    assert service.process is not None
    async with asyncio.timeout(30):
        while not (service.home / "pg").exists():  # noqa: ASYNC110 - a process tells nobody
            await asyncio.sleep(0.01)
        service.process.send_signal(number)
        assert await service.process.wait() == 0
    assert not runs_a_server(service.home)


@pytest.mark.slow
async def test_after_the_power_went_the_next_start_finishes_what_was_accepted(service: Service) -> None:
    await service.start()
    async with six_calls_under_way(service) as vendor:
        await service.kill_everything()
        vendor.release()
        await service.start()
    await service.stop()
    assert not (service.home / "pg" / "data" / "postmaster.pid").exists(), "the database was stopped, too"
