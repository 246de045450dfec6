"""Makes the database of a release, with jobs in every state, for tests/upgrade/.

    git archive v0.1.0 | tar -x -C /tmp/release
    python scripts/make_release_database.py /tmp/release tests/upgrade/release-0.1.0

Everything is done by the release's own code, in processes of its own: its API takes the jobs, its workers run and are
killed, its sandbox is the vendors. Written are `database.sql` (what pg_dump says), `home/` (stored and staged pictures)
and `release.json`: when that was, and which job is which.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

MODEL = "gemini-3.1-flash-lite-image"
OUTPUTS = [{"name": "card", "width": 48, "height": 48, "format": "jpeg"}]
KEY = "c2FmZWxpZ2h0LXRlc3RzLXNlY3JldC1rZXktMzItYnk="
"""What the release's webhook secrets are sealed under; it protects nothing but this file's example."""


def main() -> None:
    """In the release's own source tree, with its own packages before ours."""
    release, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    if os.environ.get("PYTHONPATH") != (path := f"{release / 'src'}"):  # noqa: TID251
        command = [sys.executable, __file__, str(release), str(target)]
        sys.exit(subprocess.run(command, cwd=release, env={**_quiet(), "PYTHONPATH": path}, check=False).returncode)
    import safelight

    assert Path(safelight.__file__).is_relative_to(release), safelight.__file__
    asyncio.run(Maker(target).make())


class Maker:
    """One installation of the release, in a folder that is thrown away."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.jobs: dict[str, str] = {}

    async def make(self) -> None:
        from safelight.db.embedded import EmbeddedServer

        folder = Path(tempfile.mkdtemp(prefix="safelight-release-", dir="/tmp"))
        folder.chmod(0o755)
        self.home = folder / "home"
        server = EmbeddedServer(folder / "server", durable=False)
        self.dsn = server.start()
        try:
            await self._fill(folder)
            self._write(server.bin_path)
        finally:
            server.destroy()
            shutil.rmtree(folder)

    async def _fill(self, folder: Path) -> None:
        from safelight.db.migrate import migrate
        from safelight.db.pool import close_pool, open_pool
        from safelight.sandbox.config import SandboxConfig
        from safelight.sandbox.server import running_sandbox

        await migrate(self.dsn)
        self.pool = await open_pool(self.dsn, min_size=1, max_size=2, application_name="maker")
        async with running_sandbox(SandboxConfig(pictures=1), bill_path=folder / "bill.jsonl") as sandbox:
            self.sandbox = sandbox
            async with self._api():
                await self._settled_things()
                await self._dead_owners()
                await self._open_things()
        self.made_at = await self.pool.fetchval("SELECT safelight.now()")
        await close_pool(self.pool)

    async def _settled_things(self) -> None:
        """Jobs that have ended in every way, an account that pays in advance, an endpoint where nobody answers."""
        hook = {"url": "http://127.0.0.1:9/hook", "events": ["job.completed", "job.partial", "job.canceled"]}
        self.endpoint = (await self._post("/v1/webhooks", hook))["id"]
        await self._post("/v1/schedules", _schedule("hourly", [_own("of-the-hour")]))
        await self._put("/v1/styles/noir", {"prefix": "Film noir.", "suffix": "Grain."})
        await self._put("/v1/accounts/shop", {"billing": "usd"}, method="PATCH")
        await self._post("/v1/accounts/shop/credits", {"usd": "5.00"})
        async with self._worker():
            await self._ended("completed", [_own("a"), _own("b")])
            await self._ended("partial", [_own("drawn"), _bought("no", "refuse SAFETY")])
            await self._ended("failed", [_bought("refused", "refuse-prompt OTHER")])
            lost = _bought("lost", "cut", on_uncertain="hold", timeout_seconds=10)
            await self._ended("uncertain", [lost], account="shop")

    async def _dead_owners(self) -> None:
        """Images whose worker was killed, each at another point."""
        await self._killed("claimed", "claimed", [_own("claimed")])
        await self._killed("attempt_committed", "sent", [_bought("sent", timeout_seconds=300)], account="shop")
        await self._killed("handle_committed", "remote", [_remote("remote")])
        await self._killed("staged", "staged", [_own("staged")])
        await self._killed("received", "received", [_own("received"), _own("waiting", of="received")])
        await self._killed("uploaded", "uploaded", [_own("uploaded")])
        job_id = await self._submit("canceling", [_bought("slow", "slow 600")])
        async with self._worker(kill=True):
            await self._until("SELECT true FROM images WHERE job_id = $1 AND status = 'generating'", job_id)
            await self._post(f"/v1/jobs/{job_id}/cancel", {})
            await self._until("SELECT status = 'canceling' FROM jobs WHERE id = $1", job_id)

    async def _open_things(self) -> None:
        """Jobs that nobody has touched."""
        job_id = await self._submit("canceled", [_own("gone")])
        await self._post(f"/v1/jobs/{job_id}/cancel", {})
        await self._submit("queued", [_own("first"), _bought("second"), _own("third", style="noir")])
        await self._submit("billed", [_bought("paid")], account="shop")
        await self._submit("hook", [_own("told")], webhook={"url": "http://127.0.0.1:9/job"})
        await self._submit("later", [_own("later")], not_before=_tomorrow())

    async def _ended(self, name: str, images: list[dict[str, Any]], **rest: Any) -> None:
        job_id = await self._submit(name, images, **rest)
        await self._until("SELECT completed_at IS NOT NULL FROM jobs WHERE id = $1", job_id)

    async def _killed(self, failpoint: str, name: str, images: list[dict[str, Any]], **rest: Any) -> None:
        await self._submit(name, images, **rest)
        async with self._worker(failpoint=f"{failpoint}:kill@1") as process:
            assert await process.wait() == -signal.SIGKILL

    async def _submit(self, name: str, images: list[dict[str, Any]], **rest: Any) -> str:
        body = {"images": images, "outputs": OUTPUTS, "metadata": {"state": name}, **rest}
        answer = await self._post("/v1/jobs", body)
        self.jobs[name] = answer["id"]
        return answer["id"]

    async def _until(self, question: str, *args: object) -> None:
        async with asyncio.timeout(60):
            while True:
                if await self.pool.fetchval(question, *args):
                    return
                await asyncio.sleep(0.05)

    async def _post(self, path: str, body: Any) -> Any:
        return await self._put(path, body, method="POST")

    async def _put(self, path: str, body: Any, *, method: str = "PUT") -> Any:
        answer = await self.client.request(method, path, json=body)
        assert answer.status_code < 300, (path, answer.text)
        return answer.json() if answer.content else None

    @asynccontextmanager
    async def _api(self) -> AsyncIterator[None]:
        import httpx2

        from safelight.cli.children import free_port

        port = free_port()
        async with (
            self._process("api", bind=f"127.0.0.1:{port}"),
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as self.client,
        ):
            async with asyncio.timeout(60):
                while True:
                    try:
                        if (await self.client.get("/readyz")).status_code == 200:
                            break
                    except httpx2.TransportError:
                        pass
                    await asyncio.sleep(0.05)
            yield

    def _worker(self, *, failpoint: str = "", kill: bool = False) -> Any:
        return self._process("worker", kill=kill, failpoint=failpoint)

    @asynccontextmanager
    async def _process(
        self, word: str, *, kill: bool = False, **more: str
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        settings = {
            "home": str(self.home),
            "database_url": self.dsn,
            "secret_key": KEY,
            "egress_allow": "http://127.0.0.0/8:*",
            "placeholder": "1",
            "default_provider": "placeholder",
            "providers__gemini__kind": "gemini",
            "providers__gemini__base_url": self.sandbox.gemini_url(),
            "providers__gemini__api_key": "test-key",
            "providers__fal__kind": "fal",
            "providers__fal__base_url": self.sandbox.url("fal"),
            "providers__fal__api_key": "test-key",
            "min_free_bytes": "0",
            "lease_seconds": "3600",  # nobody heals what the next worker is to find
            "sweep_seconds": "0.5",
            **more,
        }
        environment = {**os.environ, **{f"SAFELIGHT_{name.upper()}": value for name, value in settings.items()}}  # noqa: TID251
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "safelight", word, env=environment, stdin=asyncio.subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill() if kill else process.terminate()
                await process.wait()

    def _write(self, bin_path: Path) -> None:
        from safelight.db.migrate import migrations

        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir(parents=True)
        command = [bin_path / "pg_dump", f"--dbname={self.dsn}", "--schema=safelight", "--no-owner", "--no-privileges"]
        dumped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (self.target / "database.sql").write_text(dumped, encoding="utf-8")
        for name in ("blobs", "staging"):
            ignore = shutil.ignore_patterns(".safelight-parts")
            shutil.copytree(self.home / name, self.target / "home" / name, ignore=ignore)
        said = {
            "migration": migrations()[-1].version,
            "made_at": self.made_at.isoformat(),
            "secret_key": KEY,
            "endpoint": self.endpoint,
            "jobs": self.jobs,
        }
        (self.target / "release.json").write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def _own(image_id: str, *, of: str | None = None, **rest: Any) -> dict[str, Any]:
    """An image that the release draws by itself; `of`: once another one has its picture."""
    if of is not None:
        references = {"references": [{"image": of}]}
        return _bought(image_id) | references
    drawn = {"provider": "placeholder", "size": "64x64", **rest}
    return {"id": image_id, "prompt": f"A picture of {image_id}", **drawn}


def _bought(image_id: str, script: str = "", **rest: Any) -> dict[str, Any]:
    told = f" [[sandbox: {script}]]" if script else ""
    prompt = f"A picture of {image_id}{told}"
    return {"id": image_id, "prompt": prompt, "provider": "gemini", "model": MODEL, **rest}


def _remote(image_id: str) -> dict[str, Any]:
    prompt = f"A picture of {image_id} [[sandbox: slow 600]]"
    return {"id": image_id, "prompt": prompt, "provider": "fal", "model": "fal-ai/flux/dev"}


def _schedule(name: str, images: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "cron": "@hourly", "timezone": "UTC", "job": {"images": images, "outputs": OUTPUTS}}


def _tomorrow() -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) + timedelta(days=1)).isoformat()


def _quiet() -> dict[str, str]:
    """This process's environment without anybody's settings of Safelight."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}  # noqa: TID251


if __name__ == "__main__":
    main()
