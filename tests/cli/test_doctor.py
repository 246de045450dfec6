"""`safelight doctor` as a process of its own: with nothing there, beside a running service, after it has stopped."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from safelight.cli.children import free_port
from tests.cli.conftest import Safelight, Said


def by_name(said: Said) -> dict[str, dict[str, Any]]:
    report = json.loads(said.out)
    assert set(report) == {"verdict", "checks"}
    return {f"{check['area']}/{check['name']}": check for check in report["checks"]}


@asynccontextmanager
async def serving(environment: dict[str, str], folder: Path) -> AsyncIterator[None]:
    """`safelight serve`, ready; stopped at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "safelight", "serve", "--placeholder"),
        cwd=folder,
        env=environment | {"SAFELIGHT_BIND": environment["SAFELIGHT_URL"].removeprefix("http://")},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            while b"is ready at" not in (line := await process.stderr.readline()):
                assert line, "serve ended"
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.communicate()


async def test_where_nothing_was_ever_started_there_are_warnings_and_nothing_is_made(
    safelight: Safelight, tmp_path: Path
) -> None:
    said = await safelight("doctor")
    assert (said.code, said.err) == (0, "")
    assert "the embedded PostgreSQL of this home is not running, and never has been" in said.out
    assert "→ Run `safelight serve`" in said.out
    assert said.out.splitlines()[-1].startswith("no problem: ")
    assert not (tmp_path / "home").exists()


async def test_beside_a_running_service_all_is_well_and_after_it_the_database_stays_down(
    safelight: Safelight, environment: dict[str, str], tmp_path: Path
) -> None:
    async with serving(environment, tmp_path):
        beside = await safelight("doctor", "--json")
        found = by_name(beside)
        assert beside.code == 0, beside
        assert found["database/reachable"]["verdict"] == "ok"
        assert found["work/workers"]["found"].startswith("1 alive with 32 slots, last beat ")
        assert found["api/address"]["verdict"] == "ok"
        assert found["work/sweep"]["found"] == "nothing is left to heal"
        assert "storage/blobs marker" not in found
        assert "PostgreSQL 18" in found["software/versions"]["found"]
        assert found["software/libvips"]["found"].startswith("libvips 8.")
    after = await safelight("doctor", "--json")
    found = by_name(after)
    assert after.code == 0
    assert found["database/reachable"]["verdict"] == "warning"
    assert not (tmp_path / "home" / "pg" / "data" / "postmaster.pid").exists()


async def test_a_problem_is_an_exit_code_and_comes_with_what_to_do(
    safelight: Safelight, environment: dict[str, str], tmp_path: Path
) -> None:
    environment["SAFELIGHT_DATABASE_URL"] = f"postgresql://somebody:hunter2@127.0.0.1:{free_port()}/none"
    environment["SAFELIGHT_PROVIDERS__OLD__KIND"] = "daguerre"
    staging = tmp_path / "home" / "staging"
    staging.mkdir(parents=True)
    (staging / "att_1.json").write_text("torn")
    said = await safelight("doctor", "--json")
    found = by_name(said)
    assert said.code == 1
    assert json.loads(said.out)["verdict"] == "problem"
    problems = {name for name, check in found.items() if check["verdict"] == "problem"}
    assert problems == {"database/reachable", "providers/old", "storage/staged receipts"}
    assert all(found[name]["meaning"] and found[name]["remedy"] for name in problems)
    assert "hunter2" not in said.out + said.err
    assert (staging / "att_1.json").read_text() == "torn"
