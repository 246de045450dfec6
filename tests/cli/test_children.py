from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx2
import pytest

from safelight.cli.children import free_port, running, sole_user, until_ready
from safelight.cli.complaint import Complaint

STARTER = """
import asyncio, os, pathlib, sys
from safelight.cli.children import running, until_ready
async def start():
    port = sys.argv[1]
    words = ("sandbox", "--port", port, "--bill", sys.argv[2])
    log = pathlib.Path(sys.argv[2]).with_suffix(".log")
    async with running("sandbox", *words, log_path=log, environment=os.environ, stop_seconds=10) as child:
        await until_ready(child, f"http://127.0.0.1:{port}/bill")
        print(child.process.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(start())
"""


async def _until_refused(port: int) -> None:
    """Asked again and again: a port that closes tells nobody."""
    async with asyncio.timeout(20), httpx2.AsyncClient(trust_env=False) as http:
        while True:
            try:
                await http.get(f"http://127.0.0.1:{port}/bill")
            except httpx2.TransportError:
                return
            await asyncio.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_child_answers_inside_of_the_block_and_is_gone_after_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    words = ("sandbox", "--port", str(port), "--bill", str(tmp_path / "bill.jsonl"))
    async with running(
        "sandbox", *words, log_path=tmp_path / "logs" / "s.log", environment=environment, stop_seconds=10
    ) as child:
        await until_ready(child, f"http://127.0.0.1:{port}/bill")
    assert child.process.returncode == 0
    assert "sandbox: gemini at" in (tmp_path / "logs" / "s.log").read_text()
    await _until_refused(port)


async def test_a_child_that_ends_before_it_is_ready_is_quoted(environment: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(Complaint, match="the sandbox process ended: safelight: latency `never`"):
        async with running(
            "sandbox",
            *("sandbox", "--latency", "never"),
            log_path=tmp_path / "s.log",
            environment=environment,
            stop_seconds=10,
        ) as child:
            await until_ready(child, f"http://127.0.0.1:{free_port()}/bill")


async def test_a_child_does_not_outlive_a_starter_that_was_killed(environment: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    starter = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STARTER, str(port), str(tmp_path / "bill.jsonl")),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    assert starter.stdout is not None
    async with asyncio.timeout(30):
        child = int(await starter.stdout.readline())
        starter.send_signal(signal.SIGKILL)
        await starter.wait()
    await _until_refused(port)
    async with asyncio.timeout(20):
        while _lives(child):  # noqa: ASYNC110 - a process that is nobody's child sets no event
            await asyncio.sleep(0.05)


async def test_a_folder_is_used_by_one_run_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "demo.lock"
    async with sole_user(lock, patience_seconds=0):
        with pytest.raises(Complaint, match="is in use by another run"):
            async with sole_user(lock, patience_seconds=0):
                pass
    async with sole_user(lock, patience_seconds=0):
        pass
