"""The last release and this one, at once on one database: what one begins the other finishes."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.db.migrate import pending
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import JobStatus
from safelight.engine.queue.sweep import sweep
from safelight.engine.timing import Timing
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox
from safelight.settings import child_environment
from safelight.storage.local_staging import LocalStaging
from tests.crash.processes import free_port
from tests.orders import attempts_of, ended, event_types, until
from tests.upgrade.release import source

MODEL = "gemini-3.1-flash-lite-image"
OUTPUTS = [{"name": "card", "width": 48, "height": 48, "format": "jpeg"}]
OLD, NEW = "old", "new"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Processes of two releases. `old` is the source tree of the one before."""

    old: Path
    home: Path
    database: str
    pool: asyncpg.Pool
    sandbox: RunningSandbox

    @asynccontextmanager
    async def process(self, release: str, word: str, **more: Any) -> AsyncIterator[asyncio.subprocess.Process]:
        settings = {
            "home": self.home,
            "database_url": self.database,
            "egress_allow": "http://127.0.0.0/8:*",
            "default_provider": "gemini",
            "providers__gemini__kind": "gemini",
            "providers__gemini__model": MODEL,
            "providers__gemini__base_url": self.sandbox.gemini_url(),
            "providers__gemini__api_key": "test-key",
            "providers__fal__kind": "fal",
            "providers__fal__model": "fal-ai/flux/dev",
            "providers__fal__base_url": self.sandbox.url("fal"),
            "providers__fal__api_key": "test-key",
            "min_free_bytes": 0,
            "slots": 4,
            "lease_seconds": 2,
            "grace_seconds": 0.5,
            "sweep_seconds": 0.3,
            "admission_seconds": 0.2,
            "dequeue_seconds": 0.3,
            "poll_seconds": 0.1,
            "retry_unit_seconds": 0.05,
            **more,
        }
        environment = child_environment(settings)
        if release == OLD:
            environment["PYTHONPATH"] = str(self.old / "src")
        with (self.home / f"{release}-{word}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "safelight", word),
                cwd=self.home,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                async with asyncio.timeout(60):
                    await process.wait()

    @asynccontextmanager
    async def worker(self, release: str, **more: Any) -> AsyncIterator[asyncio.subprocess.Process]:
        async with self.process(release, "worker", **more) as process:
            await until(self.pool, "SELECT true FROM workers WHERE pid = $1", process.pid)
            yield process

    @asynccontextmanager
    async def api(self, release: str) -> AsyncIterator[httpx2.AsyncClient]:
        address = f"127.0.0.1:{free_port()}"
        async with (
            self.process(release, "api", bind=address) as process,
            httpx2.AsyncClient(base_url=f"http://{address}", timeout=30, trust_env=False) as client,
        ):
            async with asyncio.timeout(60):
                while not await is_ready(client):
                    assert process.returncode is None
                    await asyncio.sleep(0.05)
            yield client

    async def submit(self, client: httpx2.AsyncClient, *images: dict[str, Any]) -> JobId:
        answer = await client.post("/v1/jobs", json={"images": images, "outputs": OUTPUTS})
        assert answer.status_code == 202, answer.text
        return JobId(answer.json()["id"])


async def is_ready(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx2.TransportError:
        return False


def bought(image_id: str, script: str = "", **rest: Any) -> dict[str, Any]:
    told = f" [[sandbox: {script}]]" if script else ""
    return {"id": image_id, "prompt": f"A picture of {image_id}{told}", "timeout_seconds": 4, **rest}


@pytest.fixture
async def fleet(database: str, pool: asyncpg.Pool, tmp_path: Path) -> AsyncIterator[Fleet]:
    old = source(tmp_path / "release")
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", "import safelight; print(safelight.__file__)"]
    asked = subprocess.run(  # noqa: ASYNC221 - the test has nothing else to do
        command, env={"PYTHONPATH": str(old / "src")}, capture_output=True, text=True, check=True
    )
    assert Path(asked.stdout.strip()).is_relative_to(old), "the old processes run the old code"
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=tmp_path / "bill.jsonl") as sandbox:
        yield Fleet(old=old, home=home, database=database, pool=pool, sandbox=sandbox)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_two_releases_on_one_database_hand_their_jobs_to_each_other_and_all_of_them_finish(fleet: Fleet) -> None:
    pool = fleet.pool
    jobs: list[JobId] = []
    async with AsyncExitStack() as running:
        old_api = await running.enter_async_context(fleet.api(OLD))
        new_api = await running.enter_async_context(fleet.api(NEW))

        # What one of them had staged, received or bought as a job when it died, the other one finishes.
        for dies, lives, client in ((NEW, OLD, old_api), (OLD, NEW, new_api)):
            remote = {"id": f"{dies}-remote", "prompt": f"Of {dies}", "provider": "fal"}
            begun = []
            for point, image in (
                ("staged", bought(f"{dies}-staged", timeout_seconds=60)),
                ("handle_committed", remote),
            ):
                begun.append(await fleet.submit(client, image))
                async with fleet.worker(dies, failpoint=f"{point}:kill@1", lease_seconds=60) as process:
                    assert await process.wait() == -signal.SIGKILL
            async with fleet.worker(lives):
                for job_id in begun:
                    assert await ended(pool, job_id) is JobStatus.COMPLETED
                    found = [(each["status"], each["error_code"]) for each in await attempts_of(pool, job_id)]
                    assert found == [("settled", None)]
            jobs += begun

        # Both work on what both have taken; then the old one is killed with calls in flight.
        async with fleet.worker(NEW), fleet.worker(OLD) as old:
            mixed = [
                await fleet.submit(client, *(bought(f"{name}-{n}-{i}", script) for i, script in enumerate(SCRIPTS)))
                for n in range(3)
                for name, client in ((OLD, old_api), (NEW, new_api))
            ]
            canceled = await fleet.submit(old_api, *(bought(f"stop-{n}", "slow 3") for n in range(4)))
            await until(
                pool,
                "SELECT count(*) > 0 FROM images WHERE worker_id IN (SELECT id FROM workers WHERE pid = $1)",
                old.pid,
            )
            assert (await new_api.post(f"/v1/jobs/{canceled}/cancel", json={})).status_code < 300
            old.kill()
            await old.wait()
            for job_id in mixed:
                assert await ended(pool, job_id, seconds=120) in (JobStatus.COMPLETED, JobStatus.PARTIAL)
            assert await ended(pool, canceled, seconds=60) is JobStatus.CANCELED
            failed = await fleet.submit(new_api, bought("refused", "refuse-prompt OTHER"))
            assert await ended(pool, failed) is JobStatus.FAILED
            assert (await old_api.post(f"/v1/jobs/{failed}/retry", json={})).status_code < 300
            await until(pool, "SELECT run = 2 FROM jobs WHERE id = $1", failed)
            assert await ended(pool, failed) is JobStatus.FAILED
            await until(pool, "SELECT count(*) = 0 FROM pgqueuer")
        jobs += [*mixed, canceled, failed]
        for job_id in jobs:
            for client in (old_api, new_api):
                assert (await client.get(f"/v1/jobs/{job_id}")).status_code == 200
                picture = (await client.get(f"/v1/jobs/{job_id}/events", headers={"Accept": "application/json"})).json()
                assert picture["events"]
            await event_types(pool, job_id)

    assert await pending(fleet.database) == []
    await nothing_is_left(fleet)


SCRIPTS = ("", "500 x1", "slow 0.5", "refuse-prompt OTHER", "slow 1")
"""What the vendor does to the images of a job."""


async def nothing_is_left(fleet: Fleet) -> None:
    """The sweep finds nothing, no picture was bought after its bytes had come, and the two books agree."""
    timing = Timing(lease_seconds=2, grace_seconds=0.5, admission_seconds=0.2)
    found = await sweep(fleet.pool, fleet.pool, LocalStaging(fleet.home / "staging"), timing=timing)
    assert found is not None
    assert found.total == 0, found
    rows = await fleet.pool.fetch("SELECT * FROM attempts ORDER BY image_row_id, number")
    calls = Counter(row["image_row_id"] for row in rows)
    for row in rows:
        if row["status"] in ("settled", "received"):
            assert row["number"] == calls[row["image_row_id"]]
    known = sum(row["cost_microusd"] or 0 for row in rows if row["status"] != "unknown")
    uncertain = sum(row["estimate_microusd"] or 0 for row in rows if row["status"] == "unknown")
    assert known <= fleet.sandbox.vendor.bill.total_microusd <= known + uncertain
