"""The backup that docs/operations.md describes, of an installation at work, and what the page says of afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.db.embedded import EmbeddedServer, running_dsn
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox
from safelight.settings import child_environment
from tests.crash.processes import free_port
from tests.upgrade.page import blocks

SAVE, RESTORE, RESUME = blocks("Backups")
OUTPUTS = [{"name": "card", "width": 48, "height": 48, "format": "jpeg"}]
MODEL = "gemini-3.1-flash-lite-image"


@dataclass(kw_only=True)
class Site:
    """One installation after the other, at the same address, with one backup."""

    folder: Path
    sandbox: RunningSandbox
    home: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        settings = {
            "home": self.home,
            "bind": f"127.0.0.1:{self.port}",
            "url": f"http://127.0.0.1:{self.port}",
            "database_url": None,
            "secret_key": None,
            "egress_allow": "http://127.0.0.0/8:*",
            "default_provider": "gemini",
            "providers__gemini__kind": "gemini",
            "providers__gemini__model": MODEL,
            "providers__gemini__base_url": self.sandbox.gemini_url(),
            "providers__gemini__api_key": "test-key",
            "providers__gemini__max_concurrency": 4,
            "min_free_bytes": 0,
            "lease_seconds": 2,
            "grace_seconds": 0.5,
            "sweep_seconds": 0.3,
            "retry_unit_seconds": 0.05,
        }
        environment = child_environment(settings)
        return environment | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"}

    async def run(self, script: str) -> str:
        """What the commands of the page say, all of which succeed; `safelight serve` is not among them."""
        lines = [line for line in script.splitlines() if line.strip() != "safelight serve"]
        here = "\n".join(lines)
        for place in ("/backup/", "/elsewhere/"):
            here = here.replace(place, f"{self.folder}{place}")
        process = await asyncio.create_subprocess_exec(
            *("sh", "-eu", "-c", here),
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(120):
            said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[httpx2.AsyncClient, asyncio.subprocess.Process]]:
        """`safelight serve`, ready; stopped at the end unless somebody killed it."""
        with (self.folder / "serve.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *("safelight", "serve"),
                cwd=self.folder,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            url = f"http://127.0.0.1:{self.port}"
            async with httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client:
                async with asyncio.timeout(60):
                    while not await _is_ready(client):
                        assert process.returncode is None, (self.folder / "serve.log").read_text()
                        await asyncio.sleep(0.05)
                yield client, process
        finally:
            if process.returncode is None:
                process.terminate()
                async with asyncio.timeout(60):
                    await process.wait()


async def _is_ready(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture
async def site(open_folder: Path) -> AsyncIterator[Site]:
    home = open_folder / "first"
    (open_folder / "backup").mkdir()
    (open_folder / "elsewhere").mkdir()
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=open_folder / "bill.jsonl") as sandbox:
        site = Site(folder=open_folder, sandbox=sandbox, home=home, port=free_port())
        yield site
        for each in (open_folder / "first", open_folder / "second"):
            if each.exists():
                await asyncio.to_thread(EmbeddedServer(each).destroy)


async def submit(client: httpx2.AsyncClient, name: str, *scripts: str) -> str:
    images = [
        {"id": f"{name}-{n}", "prompt": f"A picture of {name}-{n}" + (f" [[sandbox: {script}]]" if script else "")}
        for n, script in enumerate(scripts)
    ]
    body = {"images": images, "outputs": OUTPUTS, "defaults": {"timeout_seconds": 40}}
    answer = await client.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def shown(client: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    return (await client.get(f"/v1/jobs/{job_id}")).raise_for_status().json()


async def at_end(client: httpx2.AsyncClient, job_id: str) -> dict[str, Any]:
    async with asyncio.timeout(120):
        while True:
            job = (await client.get(f"/v1/jobs/{job_id}?wait=10")).raise_for_status().json()
            if job["completed_at"] is not None:
                return job


async def cursor_at_end(client: httpx2.AsyncClient) -> str:
    cursor = ""
    while True:
        page = (await client.get("/v1/events", params={"after": cursor} if cursor else {})).raise_for_status().json()
        if not page["events"]:
            return cursor
        cursor = page["next_cursor"]


async def doctor(site: Site) -> dict[str, dict[str, Any]]:
    checks = json.loads(await site.run("safelight doctor --json || true"))["checks"]
    return {f"{check['area']}/{check['name']}": check for check in checks}


async def spent_microusd(home: Path) -> tuple[int, int]:
    """What the installation knows to have been billed, and the bound of what may have been."""
    dsn = running_dsn(home)
    assert dsn is not None
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch("SELECT status, cost_microusd, estimate_microusd FROM safelight.attempts")
    await connection.close()
    known = sum(row["cost_microusd"] or 0 for row in rows if row["status"] != "unknown")
    return known, known + sum(row["estimate_microusd"] or 0 for row in rows if row["status"] == "unknown")


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_what_the_page_says_of_backups_holds_from_the_first_command_to_the_last(site: Site) -> None:
    vendor = site.sandbox.vendor
    async with site.serving() as (client, process):
        await client.patch("/v1/accounts/default", json={"billing": "usd"})
        await client.post("/v1/accounts/default/credits", json={"usd": "9.00"})
        await client.post("/v1/webhooks", json={"url": "http://127.0.0.1:9/hook", "events": ["job.completed"]})
        done = await submit(client, "done", "", "")
        await at_end(client, done)
        picture = (await shown(client, done))["images"][0]["outputs"]["card"]
        before = (await client.get(httpx2.URL(picture["url"]).path)).content
        at_work = await submit(client, "work", *["slow 15"] * 4, *[""] * 4)
        assert await vendor.wait_until(lambda: vendor.in_flight == 4, timeout_seconds=30)
        billed_before = vendor.bill.total_microusd

        said = await site.run(SAVE)

        assert "saved in" in said
        assert re.search(r"^pictures: (\d+) \(\1 copied now", said, re.MULTILINE), said
        position = await cursor_at_end(client)
        await at_end(client, at_work)
        late = await submit(client, "late", "")
        await at_end(client, late)
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    await asyncio.to_thread(EmbeddedServer(site.home).destroy)
    shutil.rmtree(site.home)
    billed_after = vendor.bill.total_microusd

    site.home = site.folder / "second"
    said = await site.run(RESTORE)
    assert "buying is paused: the database was restored from a backup" in said
    assert "secret.key" not in said, "the key was put back"

    calls = len(vendor.calls)
    async with site.serving() as (client, _):
        assert (await client.get(httpx2.URL(picture["url"]).path)).content == before
        assert (await client.get(f"/v1/jobs/{late}")).status_code == 404
        refused = await client.get("/v1/events", params={"after": position})
        assert (refused.status_code, refused.json()["type"]) == (400, "/problems/invalid-cursor")
        examined = await doctor(site)
        assert examined["work/pause"]["verdict"] == "warning"
        assert examined["work/webhook secrets"]["verdict"] == "ok"
        assert "storage/blobs marker" not in examined
        assert len(vendor.calls) == calls, "nothing is bought while it is paused"

        await site.run(RESUME)

        job = await at_end(client, at_work)
        assert job["status"] == "completed"
        assert (await at_end(client, done))["status"] == "completed"
        least, most = await spent_microusd(site.home)
        billed = vendor.bill.total_microusd
        assert least <= billed
        assert billed - (billed_after - billed_before) <= most, "only what was bought after the backup is not known"
        examined = await doctor(site)
        assert examined["work/ledger"]["found"].startswith("the books balance")
        assert examined["work/sweep"]["found"] == "nothing is left to heal"


def test_the_commands_of_the_page_are_those_that_there_are() -> None:
    assert "safelight backup /backup/safelight" in SAVE
    assert "safelight restore /backup/safelight" in RESTORE
    assert RESUME == "safelight queue resume\n"
    [upgrade] = blocks("Another PostgreSQL")
    assert upgrade == "safelight upgrade-database\n"
    for words in ("backup", "restore", "upgrade-database"):
        done = subprocess.run([sys.executable, "-m", "safelight", words, "--help"], capture_output=True, check=False)
        assert done.returncode == 0
