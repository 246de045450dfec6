"""Real worker processes against a real database and the sandbox, and the checks that every crash test ends with."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest

from safelight.db.embedded import EmbeddedServer
from safelight.db.pool import close_pool, open_pool
from safelight.domain.ids import JobId
from safelight.engine.queue.sweep import sweep
from safelight.engine.timing import Timing
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox
from safelight.settings import Settings, child_environment
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import Staging
from tests.fork_server import DEVNULL, Process, start
from tests.orders import attempts_of, images_of, until

MODEL = "gemini-3.1-flash-lite-image"

END_EVERY_SESSION = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'safelight%'"
)
"""Of this database's own processes; how many there were."""
OTHER_VENDORS = ("openai", "replicate", "fal")
LEASE_SECONDS = 1.0
GRACE_SECONDS = 0.5
TIMEOUT_SECONDS = 3.0


def defaults() -> dict[str, str]:
    """What times an installation whose operator has set nothing, as an environment."""
    timed = ("lease", "grace", "sweep", "admission", "dequeue", "retry_unit", "poll")
    names = [f"{name}_seconds" for name in timed]
    return {f"SAFELIGHT_{name.upper()}": str(Settings.model_fields[name].default) for name in names}


@pytest.fixture
async def own_server(open_folder: Path) -> AsyncIterator[EmbeddedServer]:
    """A PostgreSQL that a test may stop and kill."""
    server = EmbeddedServer(open_folder)
    await asyncio.to_thread(server.start)
    yield server
    await asyncio.to_thread(server.destroy)


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=tmp_path / "bill.jsonl") as running:
        yield running


@pytest.fixture
async def queue(database: str) -> AsyncIterator[asyncpg.Pool]:
    queue = await open_pool(database, min_size=1, max_size=2, application_name="tests queue", jsonb_as_values=False)
    yield queue
    await close_pool(queue)


@dataclass(kw_only=True)
class Fleet:
    """Worker processes of one installation. `log` collects what they print."""

    database: str
    home: Path
    sandbox: RunningSandbox
    pool: asyncpg.Pool
    queue: asyncpg.Pool
    slots: int = 4
    lease_seconds: float = LEASE_SECONDS
    more: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.home / "workers.log"

    @property
    def staging(self) -> Staging:
        return LocalStaging(self.home / "staging")

    async def stored(self, key: str) -> bytes:
        return (self.home / "blobs" / key).read_bytes()

    async def in_flight(self, calls: int) -> None:
        """Returns when the vendor holds that many calls."""
        vendor = self.sandbox.vendor
        assert await vendor.wait_until(lambda: vendor.in_flight == calls, timeout_seconds=20), vendor.in_flight

    async def start(
        self,
        failpoint: str | None = None,
        *,
        home: Path | None = None,
        min_free_bytes: int = 0,
        max_file_bytes: int | None = None,
    ) -> Process:
        """A worker that has registered; `home` is another than the fleet's, as on another host; `max_file_bytes` is the
        size beyond which its disk refuses a file."""
        environment = self.environment(home=home, min_free_bytes=min_free_bytes, failpoint=failpoint)
        with self.log.open("ab") as log:
            process = await start(
                "worker",
                env=environment,
                stdin=DEVNULL,
                stdout=log.fileno(),
                stderr=log.fileno(),
                max_file_bytes=max_file_bytes,
            )
        await self.has_started(process)
        return process

    async def has_started(self, process: Process) -> None:
        """Returns when it has registered; it is one of the fleet now."""
        self.processes.append(process)
        await until(self.pool, "SELECT true FROM workers WHERE pid = $1", process.pid)

    def environment(
        self, *, home: Path | None = None, min_free_bytes: int = 0, failpoint: str | None = None
    ) -> dict[str, str]:
        """What a worker of the fleet is started with."""
        return {
            **child_environment({}),
            "SAFELIGHT_HOME": str(home or self.home),
            "SAFELIGHT_DATABASE_URL": self.database,
            "SAFELIGHT_PROVIDERS__GEMINI__KIND": "gemini",
            "SAFELIGHT_PROVIDERS__GEMINI__BASE_URL": self.sandbox.gemini_url(),
            "SAFELIGHT_PROVIDERS__GEMINI__MODEL": MODEL,
            "SAFELIGHT_PROVIDERS__GEMINI__API_KEY": "test-key",
            **self._other_vendors(),
            "SAFELIGHT_EGRESS_ALLOW": "http://127.0.0.0/8:*",
            "SAFELIGHT_POLL_SECONDS": "0.1",
            "SAFELIGHT_SLOTS": str(self.slots),
            "SAFELIGHT_LEASE_SECONDS": str(self.lease_seconds),
            "SAFELIGHT_GRACE_SECONDS": str(GRACE_SECONDS),
            "SAFELIGHT_SWEEP_SECONDS": "0.3",
            "SAFELIGHT_ADMISSION_SECONDS": "0.2",
            "SAFELIGHT_DEQUEUE_SECONDS": "0.3",
            "SAFELIGHT_RETRY_UNIT_SECONDS": "0.05",
            "SAFELIGHT_MIN_FREE_BYTES": str(min_free_bytes),
            "SAFELIGHT_FAILPOINT": failpoint or "",
            **self.more,
        }

    def _other_vendors(self) -> dict[str, str]:
        settings = {}
        for vendor in OTHER_VENDORS:
            prefix = f"SAFELIGHT_PROVIDERS__{vendor.upper()}__"
            settings |= {f"{prefix}KIND": vendor, f"{prefix}API_KEY": "test-key"}
            settings[f"{prefix}BASE_URL"] = self.sandbox.url(vendor)
        return settings

    async def has_staged(self, pictures: int) -> None:
        """Returns when that many pictures lie in the staging folder, whatever the database knows.

        Looked at again and again: another process writes them, and no event crosses that border.
        """
        async with asyncio.timeout(20):
            while True:
                if len(await self.staging.pending()) >= pictures:
                    return
                await asyncio.sleep(0.02)

    async def killed(self, process: Process) -> None:
        """Returns when the process has died by its armed failpoint."""
        async with asyncio.timeout(30):
            assert await process.wait() == -signal.SIGKILL

    async def stop(self) -> None:
        """Every worker drains and is gone."""
        for process in self.processes:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            async with asyncio.timeout(30):
                await process.wait()

    async def at_rest(self, job_id: JobId) -> None:
        """What must hold after any crash, once the job has ended and the workers are gone.

        The sweep has nothing left to heal, no queue row is left, no picture was bought after its bytes were staged, and
        the books agree with the vendor's: to the micro-dollar for known outcomes, within the bound for unknown ones.
        """
        await until(self.pool, "SELECT count(*) = 0 FROM pgqueuer")
        await self.stop()
        timing = Timing(lease_seconds=LEASE_SECONDS, grace_seconds=GRACE_SECONDS, admission_seconds=0.2)
        found = await sweep(self.pool, self.queue, self.staging, timing=timing)
        assert found is not None
        assert found.total == 0, found
        signed_off = [process.pid for process in self.processes if process.returncode == 0]
        assert await self.pool.fetchval("SELECT count(*) FROM workers WHERE pid = ANY($1)", signed_off) == 0
        await self._what_was_staged_was_used()
        await self._every_call_has_its_attempt(job_id)
        await self._every_picture_is_whole(job_id)

        attempts = await attempts_of(self.pool, job_id)
        for attempt in attempts:
            if attempt["status"] in ("settled", "received"):
                later = [
                    a
                    for a in attempts
                    if a["image_row_id"] == attempt["image_row_id"] and a["number"] > attempt["number"]
                ]
                assert later == [], "nothing is bought after bytes were received"
        known = sum(a["cost_microusd"] or 0 for a in attempts if a["status"] != "unknown")
        uncertain = sum(a["estimate_microusd"] or 0 for a in attempts if a["status"] == "unknown")
        billed = self.sandbox.vendor.bill.total_microusd
        assert known <= billed <= known + uncertain

    async def _what_was_staged_was_used(self) -> None:
        """And removed; but for images on which too many owners died: theirs waits for the user's retry."""
        left = {receipt.image_row_id for receipt in await self.staging.pending()}
        crashed = "SELECT row_id FROM images WHERE status = 'failed' AND error->>'code' = 'CRASHED'"
        assert left <= {row["row_id"] for row in await self.pool.fetch(crashed)}

    async def _every_call_has_its_attempt(self, job_id: JobId) -> None:
        """The vendor's own list of requests against our book: intent before money."""
        calls = Counter(call.prompt_sha256 for call in self.sandbox.vendor.calls)
        for row in await images_of(self.pool, job_id):
            prompt_sha256 = hashlib.sha256(row["prompt"].encode()).hexdigest()
            assert calls[prompt_sha256] <= row["attempt_count"], row["id"]

    async def _every_picture_is_whole(self, job_id: JobId) -> None:
        rows = await self.pool.fetch(
            "SELECT r.* FROM renditions AS r JOIN images AS i ON i.row_id = r.image_row_id WHERE i.job_id = $1", job_id
        )
        completed = [row["row_id"] for row in await images_of(self.pool, job_id) if row["status"] == "completed"]
        assert sorted(row["image_row_id"] for row in rows if not row["is_internal"]) == sorted(completed)
        for row in rows:
            blob = await self.stored(row["key"])
            assert (len(blob), hashlib.sha256(blob).hexdigest()) == (row["length"], row["sha256"])


@pytest.fixture
async def fleet(
    database: str, pool: asyncpg.Pool, queue: asyncpg.Pool, sandbox: RunningSandbox, tmp_path: Path
) -> AsyncIterator[Fleet]:
    fleet = Fleet(database=database, home=tmp_path, sandbox=sandbox, pool=pool, queue=queue)
    yield fleet
    for process in fleet.processes:
        if process.returncode is None:
            process.kill()
            await process.wait()
