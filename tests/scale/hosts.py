"""Hosts of one installation: each has a folder and a process of its own; they share a database and a bucket only."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx2

from safelight.sandbox.server import RunningSandbox
from safelight.settings import child_environment
from tests.crash.processes import Ended, free_port
from tests.fork_server import DEVNULL, PIPE, Process, start
from tests.orders import GEMINI, until

LEASE_SECONDS = 3.0


def shared_settings(*, database: str, bucket: str, s3: str, secret_key: str, sandbox: RunningSandbox) -> dict[str, str]:
    """What the same variables say on every host."""
    return {
        "SAFELIGHT_DATABASE_URL": database,
        "SAFELIGHT_STORAGE_URL": f"s3://{bucket}/pictures",
        "SAFELIGHT_STORAGE__ENDPOINT": s3,
        "SAFELIGHT_SECRET_KEY": secret_key,
        "SAFELIGHT_PUBLIC_URL": "http://images.example",
        "SAFELIGHT_PROVIDERS__GEMINI__KIND": "gemini",
        "SAFELIGHT_PROVIDERS__GEMINI__BASE_URL": sandbox.gemini_url(),
        "SAFELIGHT_PROVIDERS__GEMINI__MODEL": GEMINI,
        "SAFELIGHT_PROVIDERS__GEMINI__API_KEY": "test-key",
        "SAFELIGHT_PROVIDERS__GEMINI__MAX_CONCURRENCY": "16",
        "SAFELIGHT_DEFAULT_PROVIDER": "gemini",
        "SAFELIGHT_EGRESS_ALLOW": "http://127.0.0.0/8:*",
        "SAFELIGHT_SLOTS": "4",
        "SAFELIGHT_LEASE_SECONDS": str(LEASE_SECONDS),
        "SAFELIGHT_GRACE_SECONDS": "1",
        "SAFELIGHT_SWEEP_SECONDS": "0.5",
        "SAFELIGHT_ADMISSION_SECONDS": "0.2",
        "SAFELIGHT_DEQUEUE_SECONDS": "0.5",
        "SAFELIGHT_RETRY_UNIT_SECONDS": "0.1",
        "SAFELIGHT_MIN_FREE_BYTES": "0",
    }


@dataclass(kw_only=True)
class Host:
    """One process at a time, always with the same folder and, if it is an API, under the same address."""

    name: str
    command: str
    home: Path
    settings: Mapping[str, str]
    port: int = field(default_factory=free_port)
    process: Process | None = None
    client: httpx2.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.home.mkdir()
        limits = httpx2.Limits(max_connections=None)
        self.client = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", limits=limits, timeout=30, trust_env=False, verify=False
        )

    @property
    def log(self) -> Path:
        return self.home.parent / f"{self.name}.log"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        assert self.process is None or self.process.returncode is not None, "it runs already"
        with self.log.open("ab") as said:
            self.process = await start(
                self.command, env=self._environment(), stdin=DEVNULL, stdout=said.fileno(), stderr=said.fileno()
            )

    async def has_registered(self, pool: asyncpg.Pool) -> None:
        """Returns when this worker may be given work."""
        await until(pool, "SELECT true FROM workers WHERE pid = $1", self.pid, seconds=60)

    async def is_ready(self) -> None:
        """Returns when this API answers, asked again and again as a balancer does."""
        async with asyncio.timeout(60):
            while True:
                try:
                    if (await self.client.get("/readyz")).status_code == 200:
                        return
                except httpx2.TransportError:
                    pass
                assert self.process is not None
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        assert await self.process.wait() == -signal.SIGKILL

    async def stop(self) -> None:
        """It has drained and is gone."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            async with asyncio.timeout(30):
                assert await self.process.wait() == 0, self.log.read_text()[-2000:]

    async def close(self) -> None:
        await self.client.aclose()
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def ran(self, *words: str) -> Ended:
        """`safelight WORDS` on this host, once it has ended."""
        process = await start(*words, env=self._environment(), stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Ended(code=process.returncode, out=out.decode(), err=err.decode())

    def _environment(self) -> dict[str, str]:
        bind = {"SAFELIGHT_BIND": f"127.0.0.1:{self.port}", "SAFELIGHT_HOME": str(self.home)}
        return {**child_environment({}), **self.settings, **bind}
