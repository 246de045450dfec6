"""One run of one contestant: the work is done, checked in the database, and what it took is known."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from PIL import Image

from benchmarks.installation import connected, cpu_seconds, running
from benchmarks.peers.keeping import picture_name, receipt_name
from benchmarks.peers.stage import Redis, Stage, running_redis
from benchmarks.plugin.instant_vendor import MODEL, InstantProvider
from benchmarks.throughput import JOB_IMAGES, SETTINGS, drain
from safelight.providers.provider import ImageRequest

PYTHON = Path(__file__).parents[2] / ".venv-peers" / "bin" / "python"
"""The peers' own environment: `make .venv-peers/installed`."""
WARM_UP_IMAGES = 10 * JOB_IMAGES
FIRST_MEASURED = 10 * WARM_UP_IMAGES
"""Its number. Pictures of the images before it stay, to be looked at."""

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
    work, each as it is started. `keeps` is for peers: whether they check and keep the picture, as Safelight always
    does. `most_images` bounds a run of a slow one: what counts is the rate."""

    name: str
    what: str
    module: str | None = None
    workers: int = 1
    wants_redis: bool = False
    keeps: bool = False
    most_images: int | None = None

    async def run(self, stage: Stage, images: int) -> Run:
        """With everything started anew, and warm. Raises RuntimeError unless all images ended as they should."""
        if self.module is None:
            return await _safelight(stage, self, images)
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(running_redis(stage.folder)) if self.wants_redis else None
            kept = None
            if self.keeps:  # on the disk of the database
                kept = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kept-", dir=stage.home)))
            return await _peer(stage, self, self.module, redis, kept, min(images, self.most_images or images))


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


async def _peer(
    stage: Stage, contestant: Contestant, module: str, redis: Redis | None, kept: Path | None, images: int
) -> Run:
    arguments = ["--dsn", await stage.fresh_database(contestant.name), "--processes", str(contestant.workers)]
    if redis:
        arguments += ["--broker", redis.url]
    pictures, picture = None, b""
    if kept:
        picture = await vendors_picture()
        (vendor := kept / "vendor").write_bytes(picture)
        (pictures := kept / "pictures").mkdir()
        arguments += ["--keep", str(pictures), "--picture", str(vendor), "--remove-from", str(FIRST_MEASURED)]
    async with _started(module, "prepare", *arguments) as preparing:
        if await preparing.wait() != 0:
            raise RuntimeError(f"`{module}` could not prepare its tables")
    async with _started(module, "work", *arguments) as worker, _started(module, "submit", *arguments) as submitter:
        await _ready(worker)
        await _ready(submitter)
        await _submitted(submitter, first=1, images=WARM_UP_IMAGES, keeps=contestant.keeps)
        if pictures:
            await asyncio.to_thread(check_pictures, pictures, picture)
        process = psutil.Process(worker.pid)
        before = (cpu_seconds(process), _store_seconds(stage, redis))
        rate = await _submitted(submitter, first=FIRST_MEASURED, images=images, keeps=contestant.keeps)
        after = (cpu_seconds(process), _store_seconds(stage, redis))
        if pictures:
            await _only_warm_up_left(pictures)
    await stage.drop_database(contestant.name)
    own, store = (1000 * (now - then) / images for now, then in zip(after, before, strict=True))
    return Run(images_per_second=rate, worker_ms=own, store_ms=store)


async def vendors_picture() -> bytes:
    """What the vendor of the measured Safelight answers with."""
    asked = ImageRequest(model=MODEL, prompt="a square", attempt_key="peers", timeout_seconds=30.0)
    return (await InstantProvider().submit(asked)).data


def check_pictures(folder: Path, picture: bytes) -> None:
    """Raises RuntimeError unless each image of the warm-up has its picture, whole, and a receipt that agrees; and
    nobody else has."""
    wanted = range(1, WARM_UP_IMAGES + 1)
    if _names(folder) != {name(image) for image in wanted for name in (picture_name, receipt_name)}:
        raise RuntimeError("other pictures were kept than those of the warm-up")
    for image in wanted:
        content = (folder / picture_name(image)).read_bytes()
        Image.open(io.BytesIO(content)).load()
        receipt = json.loads((folder / receipt_name(image)).read_bytes())
        if content != picture or (receipt["image"], receipt["bytes"]) != (image, len(content)):
            raise RuntimeError(f"the picture of image {image} is not the vendor's")


async def _only_warm_up_left(folder: Path) -> None:
    """The last are removed a moment after their images' end."""
    async with asyncio.timeout(_STOP_SECONDS):
        while len(_names(folder)) != 2 * WARM_UP_IMAGES:  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(0.05)


def _names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


async def _submitted(submitter: Process, *, first: int, images: int, keeps: bool) -> float:
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
    if told["kept"] != (images if keeps else 0):
        raise RuntimeError(f"{told['kept']} of {images} images name the picture that was kept for them")
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
