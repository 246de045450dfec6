"""One run of one contestant: the work is done, checked in the database, and what it took is known."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.installation import connected, cpu_seconds, running
from benchmarks.peers.stage import Redis, Stage, running_redis
from benchmarks.throughput import JOB_IMAGES, SETTINGS, drain

PYTHON = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
"""The peers' own environment: `make .venv-peers/installed`."""
WARM_UP_IMAGES = 10 * JOB_IMAGES

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 60.0
_RUN_SECONDS = 600.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`*_ms` is processor time per image: of the processes that do the work, and of PostgreSQL (and Redis) for them."""

    images_per_second: float
    worker_ms: float
    store_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """`module` is a peer's, below `benchmarks.peers`; None is Safelight itself. `workers` is how many processes do the
    work, each as it is started."""

    name: str
    what: str
    module: str | None = None
    workers: int = 1
    wants_redis: bool = False

    async def run(self, stage: Stage, images: int) -> Run:
        """With everything started anew, and warm. Raises RuntimeError unless all images ended as they should."""
        if self.module is None:
            return await _safelight(stage, self, images)
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(running_redis(stage.folder)) if self.wants_redis else None
            return await _peer(stage, self, self.module, redis, images)


async def _safelight(stage: Stage, contestant: Contestant, images: int) -> Run:
    """Through its public API, with nothing left out; see `benchmarks/throughput.py`."""
    dsn = await stage.fresh_database(contestant.name)
    settings = {**SETTINGS, "database_url": dsn, "workers": contestant.workers}
    async with (
        running(stage.folder, server_home=stage.home, **settings) as installation,
        connected(installation) as database,
    ):
        await drain(installation, database, images=WARM_UP_IMAGES, keeps=True)
        processes = installation.processes()
        before = (cpu_seconds(processes["serve"]), cpu_seconds(processes["api"]), stage.postgres_cpu_seconds())
        drained = await drain(installation, database, images=images, keeps=False)
        after = (cpu_seconds(processes["serve"]), cpu_seconds(processes["api"]), stage.postgres_cpu_seconds())
    await stage.drop_database(contestant.name)
    everything, api, store = (1000 * (now - then) / drained.images for now, then in zip(after, before, strict=True))
    return Run(images_per_second=drained.images_per_second, worker_ms=everything - api, store_ms=store)


async def _peer(stage: Stage, contestant: Contestant, module: str, redis: Redis | None, images: int) -> Run:
    arguments = ["--dsn", await stage.fresh_database(contestant.name), "--processes", str(contestant.workers)]
    if redis:
        arguments += ["--broker", redis.url]
    async with _started(module, "prepare", *arguments) as preparing:
        if await preparing.wait() != 0:
            raise RuntimeError(f"`{module}` could not prepare its tables")
    async with _started(module, "work", *arguments) as worker, _started(module, "submit", *arguments) as submitter:
        await _ready(worker)
        await _ready(submitter)
        await _submitted(submitter, first=1, images=WARM_UP_IMAGES)
        process = psutil.Process(worker.pid)
        before = (cpu_seconds(process), _store_seconds(stage, redis))
        rate = await _submitted(submitter, first=10 * WARM_UP_IMAGES, images=images)
        after = (cpu_seconds(process), _store_seconds(stage, redis))
    await stage.drop_database(contestant.name)
    own, store = (1000 * (now - then) / images for now, then in zip(after, before, strict=True))
    return Run(images_per_second=rate, worker_ms=own, store_ms=store)


async def _submitted(submitter: Process, *, first: int, images: int) -> float:
    """Images per second from before the first submit until the last image's end."""
    assert submitter.stdin is not None
    assert submitter.stdout is not None
    submitter.stdin.write(f"{first} {images}\n".encode())
    async with asyncio.timeout(_RUN_SECONDS):
        line = await submitter.stdout.readline()
    if not line:
        raise RuntimeError("the submitting process ended")
    told = json.loads(line)
    if told["images"] != images:
        raise RuntimeError(f"{told['images']} of {images} images went through all three changes")
    return images / told["seconds"]


def _store_seconds(stage: Stage, redis: Redis | None) -> float:
    return stage.postgres_cpu_seconds() + (redis.cpu_seconds() if redis else 0.0)


@asynccontextmanager
async def _started(module: str, role: str, *arguments: str) -> AsyncIterator[Process]:
    """Gone afterwards: by SIGTERM, or by force."""
    process = await asyncio.create_subprocess_exec(
        *(str(PYTHON), "-W", "ignore", "-m", f"benchmarks.peers.{module}", role, *arguments),
        cwd=_ROOT,
        stdin=PIPE if role == "submit" else DEVNULL,
        stdout=PIPE,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _ready(process: Process) -> None:
    """Whatever else it says first, such as a banner, is passed over."""
    assert process.stdout is not None
    async with asyncio.timeout(_START_SECONDS):
        while line := await process.stdout.readline():
            if line == b"ready\n":
                return
    raise RuntimeError("a process ended before it was ready")
