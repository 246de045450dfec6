"""The same wish at two API processes, one of which is killed while everybody waits: one purchase."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import openai
import pytest

from safelight.settings import child_environment
from tests.crash.conftest import Fleet, fleet, queue, sandbox
from tests.fork_server import DEVNULL, Process, start
from tests.openai_api.conftest import OPENAI

__all__ = ["fleet", "queue", "sandbox"]  # the fixtures of processes, in the place of this folder's own


@asynccontextmanager
async def api_process(fleet: Fleet, port: int) -> AsyncIterator[Process]:
    """An API that answers; killed at the end if it still lives."""
    settings = {
        "database_url": fleet.database,
        "home": fleet.home,
        "bind": f"127.0.0.1:{port}",
        "providers__openai__kind": "openai",
        "providers__openai__api_key": "test-key",
        "providers__openai__base_url": fleet.sandbox.url("openai"),
    }
    with (fleet.home / "api.log").open("ab") as log:
        process = await start(
            "api",
            env=child_environment(settings),
            stdin=DEVNULL,
            stdout=log.fileno(),
            stderr=log.fileno(),
        )
    try:
        async with asyncio.timeout(60), httpx2.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    if (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200:
                        break
                except httpx2.TransportError:
                    pass
                await asyncio.sleep(0.05)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def client_at(port: int) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/openai/v1", api_key="any", max_retries=20)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.mark.slow
async def test_whoever_asks_and_whichever_process_dies_the_pictures_are_bought_once(fleet: Fleet):
    here, there = free_port(), free_port()
    vendor = fleet.sandbox.vendor
    vendor.hold()
    await fleet.start()
    async with (
        api_process(fleet, here),
        api_process(fleet, there) as doomed,
        client_at(here) as one,
        client_at(there) as two,
    ):
        asked = [
            asyncio.create_task(client.images.generate(prompt="A brass key", model=OPENAI, n=2, response_format="url"))
            for client in (one, two) * 8
        ]
        await fleet.in_flight(2)
        doomed.send_signal(signal.SIGKILL)
        await doomed.wait()
        async with api_process(fleet, there):
            vendor.release()
            async with asyncio.timeout(60):
                answers = await asyncio.gather(*asked)

    made = {(answer.model_extra or {})["safelight"]["job_id"] for answer in answers}
    assert len(made) == 1
    assert {len(answer.data or ()) for answer in answers} == {2}
    assert vendor.bill.charged_calls_of("openai") == 2
    assert await fleet.pool.fetchval("SELECT count(*) FROM jobs") == 1
