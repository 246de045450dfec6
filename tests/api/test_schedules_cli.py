"""`safelight schedules` against the service itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2
import pytest

from safelight.settings import child_environment
from tests.api.conftest import image, job
from tests.fork_server import DEVNULL, PIPE, start

TOML = """
name = "daily-case"
cron = "0 18 * * *"
timezone = "Europe/Berlin"
unique_per = "day"
ready_by = "00:00"

[job.metadata]
case = "case-{date}"

[[job.images]]
id = "one"
prompt = "A brass key"
"""

Schedules = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def schedules(client: httpx2.AsyncClient, tmp_path: Path) -> Schedules:
    """Runs `safelight schedules WORDS` as a process of its own: exit code, output, errors."""

    async def run(*words: str) -> tuple[int, str, str]:
        process = await start(
            *("schedules", *words),
            cwd=tmp_path,
            env=child_environment({"url": client.base_url, "home": tmp_path}) | {"COLUMNS": "160"},
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    return run


async def test_a_schedule_is_made_of_a_file_run_changed_and_removed(
    schedules: Schedules, client: httpx2.AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "daily.toml").write_text(TOML)
    code, out, err = await schedules("add", "daily.toml")
    assert (code, err) == (0, "")
    assert out.startswith("daily-case: next 2")
    assert out.endswith(" 18:00\n")

    code, ran, err = await schedules("run", "daily-case")
    assert (code, err) == (0, "")
    body = {"name": "daily-case", "cron": "@hourly", "timezone": "UTC", "job": job(images=[image("two")])}
    (tmp_path / "hourly.json").write_text(json.dumps(body))
    (_, listed, _), (_, shown, _), (code, _, missing), (_, disabled, _) = await asyncio.gather(
        schedules("list"),
        schedules("show", "daily-case", "--json"),
        schedules("run", "nightly-case"),
        schedules("disable", "daily-case"),
    )
    assert all(word in listed for word in ("daily-case", "Europe/Berlin", "pending", ran.split()[0]))
    assert [run["status"] for run in json.loads(shown)["runs"]] == ["submitted"]
    assert (code, "there is no schedule called `nightly-case`" in missing) == (1, True)
    assert disabled == "daily-case: disabled\n"

    code, out, _ = await schedules("add", "hourly.json", "--replace", "--json")
    now = json.loads(out)
    assert (code, now["enabled"], now["unique_per"], now["ready_by"]) == (0, True, None, None)
    assert {name: now[name] for name in body} == body
    code, _, _ = await schedules("remove", now["id"])
    assert code == 0
    assert (await client.get("/v1/schedules")).json()["schedules"] == []
