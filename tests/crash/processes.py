"""Processes of Safelight as an operator starts them: an API that has answered, a command that has ended."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from safelight.settings import child_environment
from tests.fork_server import DEVNULL, PIPE, Process, start


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


async def ran(*words: str, **settings: Any) -> Ended:
    """`safelight WORDS`, once it has ended."""
    process = await start(
        *words,
        env=child_environment(settings),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return Ended(code=process.returncode, out=out.decode(), err=err.decode())


@asynccontextmanager
async def started(*words: str, log: Path, **settings: Any) -> AsyncIterator[Process]:
    """`safelight WORDS` runs for as long as the block does, and is told to stop at its end."""
    with log.open("ab") as said:
        process = await start(
            *words,
            env=child_environment(settings),
            stdin=DEVNULL,
            stdout=said.fileno(),
            stderr=said.fileno(),
        )
    try:
        yield process
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(30):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@asynccontextmanager
async def api(*, log: Path, host: str = "127.0.0.1", **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an API process of its own, which is ready."""
    async with api_process(log=log, host=host, **settings) as (client, _process):
        yield client


@asynccontextmanager
async def api_process(
    *, log: Path, host: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[tuple[httpx2.AsyncClient, Process]]:
    """The same, with its process, which may be killed."""
    port = free_port()
    limits = httpx2.Limits(max_connections=None)
    url = f"http://127.0.0.1:{port}"
    async with (
        started("api", log=log, bind=f"{host}:{port}", **settings) as process,
        httpx2.AsyncClient(base_url=url, limits=limits, timeout=30, trust_env=False) as client,
    ):
        async with asyncio.timeout(60):
            while not await _is_ready(client):  # a process that starts tells nobody when it listens
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        yield client, process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


async def _is_ready(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx2.TransportError:
        return False
