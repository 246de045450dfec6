"""Safelight and the programs that use it, as processes of their own: started, killed, started again.

Everything here is synchronous: what is tested runs elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx2
import psutil

from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox
from safelight.settings import child_environment
from tests.databases import fresh_database

T = TypeVar("T")

MODEL = "gemini-3.1-flash-lite-image"
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.05


@dataclass(kw_only=True)
class Program:
    """A Python module that runs as a process of its own and answers at `url`; on the same port whenever it is started.

    What it says is appended to `log`.
    """

    module: tuple[str, ...]
    environment: Mapping[str, str]
    port: int
    log: Path
    ready_path: str
    process: subprocess.Popen[bytes] | None = None
    http: httpx2.Client = field(init=False)
    _told: int = 0

    def __post_init__(self) -> None:
        self.http = httpx2.Client(base_url=self.url, timeout=30, trust_env=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, **changes: str) -> None:
        """Returns when it answers; `changes` to its environment are for this time."""
        assert self.process is None, "it runs already"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.module],
                env={**self.environment, **changes},
                stdin=subprocess.PIPE,  # whose end is theirs, see `leash`
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(self._answers, what=f"an answer from {self.module[-1]}", seconds=_START_SECONDS)

    def stop(self) -> None:
        """It was asked to stop, and has."""
        if self.process is not None:
            self.process.terminate()
            self._gone()

    def kill(self) -> None:
        """It is gone without a word, and so is all that it started."""
        if self.process is not None:
            family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
            for each in family:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            self._gone()
            psutil.wait_procs(family, timeout=_STOP_SECONDS)

    def wait_until_gone(self, *, seconds: float = 60.0) -> int:
        """How it ended, once it has by itself: a killing signal's number below zero."""
        assert self.process is not None, "it does not run"
        self.process.wait(seconds)
        return self._gone()

    def news(self) -> str:
        """What it has said since the last look."""
        said = self.log.read_bytes() if self.log.exists() else b""
        news, self._told = said[self._told :], len(said)
        return news.decode(errors="replace")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended by itself:\n{self.log.read_text(errors='replace')[-4000:]}"
        with suppress(httpx2.TransportError):
            return self.http.get(self.ready_path).status_code == 200
        return False

    def _gone(self) -> int:
        assert self.process is not None
        try:
            code = self.process.wait(_STOP_SECONDS)
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process = None
        return code


@dataclass(kw_only=True)
class Service(Program):
    """`safelight serve`, whose vendors are the sandbox; `webhook_secret` signs what it posts for single jobs."""

    sandbox: RunningSandbox
    database: str
    webhook_secret: str = ""


@contextmanager
def running_service(postgres: str, folder: Path, **settings: str) -> Iterator[Service]:
    """Safelight on a fresh database, with further `settings` if need be: `max_queued_images="10"`."""
    with _sandbox(folder / "bill.jsonl") as sandbox, _database(postgres) as database:
        port = free_port()
        service = Service(
            module=("safelight.cli.tether", "serve"),
            environment=child_environment(
                {
                    "config": os.devnull,
                    "home": folder,
                    "bind": f"127.0.0.1:{port}",
                    "database_url": database,
                    **_vendors(sandbox),
                    "default_provider": "gemini",
                    "egress_allow": "http://127.0.0.0/8:*",
                    "poll_seconds": 0.1,
                    "lease_seconds": 5,
                    "grace_seconds": 0.5,
                    "sweep_seconds": 1,
                    "dequeue_seconds": 0.5,
                    "retry_unit_seconds": 0.05,
                    "drain_seconds": 5,
                    "min_free_bytes": 0,
                    **settings,
                }
            ),
            port=port,
            log=folder / "serve.log",
            ready_path="/readyz",
            sandbox=sandbox,
            database=database,
        )
        try:
            service.start()
            service.webhook_secret = service.http.post("/v1/webhooks/default/rotate-secret").json()["secret"]
            yield service
        finally:
            service.stop()
            service.http.close()


def app_of(service: Service, module: str, *, folder: Path, environment: Mapping[str, str]) -> Program:
    """An example app that is not started yet; see `conftest` for the environment it gets."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    return Program(
        module=("tests.e2e.leash", module),
        environment={
            **child_environment({}),
            "PORT": str(port),
            "APP_URL": f"http://127.0.0.1:{port}",
            "DATA_DIR": str(folder / "data"),
            "SAFELIGHT_URL": service.url,
            "SAFELIGHT_WEBHOOK_SECRET": service.webhook_secret,
            **environment,
        },
        port=port,
        log=folder / "app.log",
        ready_path="/healthz",
    )


def eventually(look: Callable[[], T | None], *, what: str = "it", seconds: float = 30.0) -> T:
    """What `look` sees, as soon as that is something; it is asked again and again, for other processes tell nobody."""
    ends_at = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < ends_at, f"waited for {what} in vain; last seen: {seen!r}"
        time.sleep(_LOOK_SECONDS)
    return seen


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _vendors(sandbox: RunningSandbox) -> dict[str, str]:
    """One account at each vendor, and `locked-out`, whose key Gemini does not take."""
    settings = {}
    for name, vendor, key in (
        ("gemini", "gemini", "test-key"),
        ("openai", "openai", "test-key"),
        ("replicate", "replicate", "test-key"),
        ("fal", "fal", "test-key"),
        ("locked-out", "gemini", "bad-key"),
    ):
        settings |= {
            f"providers__{name}__kind": vendor,
            f"providers__{name}__base_url": sandbox.url(vendor),
            f"providers__{name}__api_key": key,
        }
        if vendor == "gemini":
            settings[f"providers__{name}__model"] = MODEL
    return settings


@contextmanager
def _sandbox(bill: Path) -> Iterator[RunningSandbox]:
    """The vendors, in a thread of this process: `vendor` may be looked at, and is changed over HTTP."""
    started, stopped = threading.Event(), asyncio.Event()
    running: list[RunningSandbox] = []
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with running_sandbox(SandboxConfig(pictures=1), bill_path=bill) as sandbox:
            running.append(sandbox)
            started.set()
            await stopped.wait()

    def run() -> None:
        try:
            loop.run_until_complete(serve())
        finally:
            started.set()

    thread = threading.Thread(target=run, name="sandbox")
    thread.start()
    try:
        assert started.wait(_START_SECONDS)
        assert running, "the sandbox did not start"
        yield running[0]
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()


@contextmanager
def _database(postgres: str) -> Iterator[str]:
    with asyncio.Runner() as runner:
        database = fresh_database(postgres)
        yield runner.run(database.__aenter__())
        runner.run(database.__aexit__(None, None, None))
