"""What the last release left behind opens, resumes and finishes under this one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.db.migrate import migrate, migrations, pending
from safelight.db.pool import close_pool, open_pool
from safelight.delivery.webhooks.vault import Vault
from safelight.domain.ids import JobId
from safelight.engine.queue.sweep import sweep
from safelight.engine.timing import Timing
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox
from safelight.storage.local_staging import LocalStaging
from tests.crash.processes import api, started
from tests.delivery.receiver import Receiver, receiving
from tests.orders import event_types, until
from tests.upgrade.release import MADE, Inherited, inherited

LEFT = {
    "completed": "completed",
    "partial": "partial",
    "failed": "failed",
    "uncertain": "failed",
    "canceled": "canceled",
    "canceling": "canceling",
    **dict.fromkeys(("claimed", "queued", "billed", "hook", "later"), "pending"),
    **dict.fromkeys(("sent", "remote", "staged", "received", "uploaded"), "generating"),
}
"""How the release left its jobs."""

FINISHED = {
    "partial": "partial",
    "failed": "failed",
    "uncertain": "failed",
    "canceled": "canceled",
    "canceling": "canceled",
}
"""How those end that do not complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The release's installation, under this version's settings."""

    left: Inherited
    home: Path
    sandbox: RunningSandbox
    pool: asyncpg.Pool

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "home": self.home,
            "database_url": self.left.dsn,
            "secret_key": self.left.secret_key,
            "egress_allow": "http://127.0.0.0/8:*",
            "placeholder": 1,
            "default_provider": "placeholder",
            "providers__gemini__kind": "gemini",
            "providers__gemini__base_url": self.sandbox.gemini_url(),
            "providers__gemini__api_key": "test-key",
            "providers__fal__kind": "fal",
            "providers__fal__base_url": self.sandbox.url("fal"),
            "providers__fal__api_key": "test-key",
            "min_free_bytes": 0,
            "lease_seconds": 1,
            "sweep_seconds": 0.3,
            "admission_seconds": 0.2,
            "dequeue_seconds": 0.3,
            "poll_seconds": 0.1,
            "retry_unit_seconds": 0.05,
            "schedule_seconds": 0.3,
        }

    async def statuses(self) -> dict[str, str]:
        rows = await self.pool.fetch("SELECT id, status FROM jobs")
        names = {job_id: name for name, job_id in self.left.jobs.items()}
        return {names[row["id"]]: row["status"] for row in rows if row["id"] in names}


@pytest.fixture
async def installation(postgres: str, tmp_path: Path) -> AsyncIterator[Installation]:
    async with (
        running_sandbox(SandboxConfig(pictures=1), bill_path=tmp_path / "bill.jsonl") as sandbox,
        inherited(postgres, home=tmp_path / "home") as left,
    ):
        pool = await open_pool(left.dsn, min_size=1, max_size=4, application_name="tests")
        yield Installation(left=left, home=tmp_path / "home", sandbox=sandbox, pool=pool)
        await close_pool(pool)


async def test_the_release_left_jobs_in_every_state_and_its_migrations_are_the_first_of_ours(
    installation: Installation,
) -> None:
    left = installation.left

    assert await installation.statuses() == LEFT
    assert {row["status"] for row in await installation.pool.fetch("SELECT status FROM images")} == {
        *("queued", "processing", "generating", "uploading", "completed", "failed", "refused", "canceled", "uncertain"),
    } - {"failed"}
    assert {row["status"] for row in await installation.pool.fetch("SELECT status FROM attempts")} >= {
        *("sent", "submitted", "received", "settled", "refused", "unknown"),
    }
    assert await pending(left.dsn) == [each for each in migrations() if each.version > left.migration]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_what_the_release_left_opens_resumes_and_finishes(installation: Installation, tmp_path: Path) -> None:
    left, pool = installation.left, installation.pool
    applied = await migrate(left.dsn)
    assert [each.version for each in applied] == [m.version for m in migrations() if m.version > left.migration]
    await the_vendor_still_works_on_its_job(installation)
    async with receiving() as receiver, api(log=tmp_path / "api.log", **installation.settings) as client:
        await pool.execute("UPDATE webhook_endpoints SET url = $1", receiver.url())
        await opens(client, left)

        async with started("worker", log=tmp_path / "worker.log", **installation.settings):
            await until(pool, "SELECT count(*) = 1 FROM jobs WHERE completed_at IS NULL", seconds=60)
            await pool.execute("UPDATE installation SET clock_shift = clock_shift + interval '25 hours'")
            await until(pool, "SELECT count(*) = 0 FROM jobs WHERE completed_at IS NULL", seconds=60)
            await until(pool, "SELECT count(*) > 0 FROM schedule_runs WHERE job_id IS NOT NULL")
            await until(pool, "SELECT count(*) = 0 FROM jobs WHERE completed_at IS NULL", seconds=60)
            await until(pool, "SELECT count(*) = 0 FROM deliveries WHERE status = 'pending'", seconds=60)
            await until(pool, "SELECT count(*) = 0 FROM holds WHERE status = 'held'")
            await until(pool, "SELECT count(*) = 0 FROM pgqueuer")

    assert await installation.statuses() == dict.fromkeys(left.jobs, "completed") | FINISHED
    await nothing_was_bought_that_need_not_be(installation)
    await everything_was_told(installation, receiver)
    await nothing_is_left(installation)


async def the_vendor_still_works_on_its_job(installation: Installation) -> None:
    """The sandbox of the release is gone, and with it its job: another one takes its place, under its own id."""
    address = f"{installation.sandbox.url('fal')}/fal-ai/flux/dev"
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.post(address, json={"prompt": "A picture of remote"}, headers={"Authorization": "Key k"})
    receipt = answer.raise_for_status().json()
    (row,) = await installation.pool.fetch("SELECT id, remote FROM attempts WHERE status = 'submitted'")
    urls = {name: receipt[f"{name}_url"] for name in row["remote"]["urls"]}
    remote = row["remote"] | {"remote_id": receipt["request_id"], "urls": urls}
    await installation.pool.execute("UPDATE attempts SET remote = $2 WHERE id = $1", row["id"], remote)


async def opens(client: httpx2.AsyncClient, left: Inherited) -> None:
    """Every job can be read, and every picture that was finished is served."""
    for name, job_id in left.jobs.items():
        job = (await client.get(f"/v1/jobs/{job_id}")).raise_for_status().json()
        assert job["status"] == LEFT[name]
        assert job["metadata"] == {"state": name}
        log = await client.get(f"/v1/jobs/{job_id}/events", headers={"Accept": "application/json"})
        assert log.raise_for_status().json()["events"][0]["type"] == "job.created"
    job = (await client.get(f"/v1/jobs/{left.jobs['completed']}")).json()
    for image in job["images"]:
        output = image["outputs"]["card"]
        picture = await client.get(httpx2.URL(output["url"]).path)
        stored = MADE / "home" / "blobs" / left.jobs["completed"]
        assert picture.content in [path.read_bytes() for path in stored.iterdir()]
    assert (await client.get("/v1/schedules")).json()["schedules"][0]["name"] == "hourly"
    assert (await client.get("/v1/accounts/shop")).json()["billing"] == "usd"
    assert (await client.get("/v1/styles/noir")).json()["prefix"] == "Film noir."


async def nothing_was_bought_that_need_not_be(installation: Installation) -> None:
    """What was staged and what the vendor worked on was used; what was on the wire was booked as unknown, once."""
    rows = await installation.pool.fetch(
        "SELECT i.job_id, a.status, a.number FROM attempts AS a JOIN images AS i ON i.row_id = a.image_row_id"
        " WHERE i.id IN ('staged', 'received', 'uploaded', 'remote', 'sent') ORDER BY i.job_id, a.number"
    )
    names = {job_id: name for name, job_id in installation.left.jobs.items()}
    found = sorted((names[row["job_id"]], row["number"], row["status"]) for row in rows)
    assert found == [
        ("received", 1, "settled"),
        ("remote", 1, "settled"),
        ("sent", 1, "unknown"),
        ("sent", 2, "settled"),
        ("staged", 1, "settled"),
        ("uploaded", 1, "settled"),
    ]


async def everything_was_told(installation: Installation, receiver: Receiver) -> None:
    """Each log has no gap, and each message of before arrived, signed under the secret of before."""
    for job_id in installation.left.jobs.values():
        await event_types(installation.pool, JobId(job_id))
    secrets = await installation.pool.fetch(
        "SELECT ciphertext FROM webhook_secrets WHERE endpoint_id = $1", installation.left.endpoint
    )
    [secret] = [Vault([installation.left.secret_key]).open(row["ciphertext"]) for row in secrets]
    told = {message.document["data"]["job_id"]: message for message in receiver.messages}
    for name in ("completed", "partial", "canceled", "canceling", "queued"):
        assert told[installation.left.jobs[name]].verified(secret)


async def nothing_is_left(installation: Installation) -> None:
    """The sweep finds nothing, and a balance is the sum of its entries."""
    queue = await open_pool(
        installation.left.dsn, min_size=1, max_size=1, application_name="tests", jsonb_as_values=False
    )
    staging = LocalStaging(installation.home / "staging")
    timing = Timing(lease_seconds=1.0, grace_seconds=0.5, admission_seconds=0.2)
    found = await sweep(installation.pool, queue, staging, timing=timing)
    await close_pool(queue)
    assert found is not None
    assert found.total == 0, found
    assert await staging.pending() == []
