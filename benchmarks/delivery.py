"""How soon a picture is heard of, what a listener takes, and how many polls a second one API process answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import memory
from benchmarks.figures import Figure, at_least, at_most, percentile
from benchmarks.installation import Installation, running
from benchmarks.paced_vendor import PacedVendor, paced_vendor, prompt_of
from benchmarks.scale import Scale

_IMAGES_PER_JOB = 5
_PER_SECOND = 50.0
_POLLS_PER_SECOND = 500
_POLLERS = 50
_POLLED_IMAGES = 14
_ENDED = b"event: job.completed"
_MODEL = "gemini-3.1-flash-lite-image"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """`seconds` of each picture; `per_second` is how many the vendor could let go of, which waits for calls to come."""

    per_second: float
    seconds: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Polls:
    """`seconds` are from the moment at which each was due, so that one that waits its turn counts as slow."""

    per_second: float
    seconds: Sequence[float]


async def measure(scale: Scale, folder: Path | None) -> list[Figure]:
    async with paced_vendor() as vendor, running(folder, **_settings(vendor, scale)) as installation:
        await _follow(installation, vendor, jobs=4)  # warm
        heard = [await _follow(installation, vendor, jobs=scale.streams) for _ in range(scale.runs)]
        await installation.post("/v1/queue/pause")  # from here on jobs stay as they are
        polls = [await _poll(installation, seconds=scale.poll_seconds) for _ in range(scale.runs)]
        held = await _hold(installation, clients=scale.held_clients)
    p50s, p99s = (tuple(1000 * percentile(run.seconds, percent) for run in heard) for percent in (50, 99))
    polled = tuple(1000 * percentile(run.seconds, 99) for run in polls)
    clients = f"{scale.held_clients:,}".replace(",", " ")
    what = f"vendor's answer → completed picture's event at its client, 50 images/s, {scale.streams} streams"
    return [
        Figure(name="event_p50", what=f"{what}, p50", unit="ms", runs=p50s, goal=at_most(15)),
        Figure(name="event_p99", what="· p99", unit="ms", runs=p99s, goal=at_most(100)),
        Figure(
            name="event_pace",
            what="· pictures that its vendor let go of",
            unit="/s",
            runs=tuple(run.per_second for run in heard),
            goal=at_least(0.99 * _PER_SECOND),
        ),
        *(
            [
                Figure(
                    name="stream_memory",
                    what=f"memory of the API for each of {clients} held streams",
                    unit="KiB",
                    runs=(held,),
                    goal=at_most(60),
                )
            ]
            if held is not None
            else []
        ),
        Figure(
            name="polls",
            what=f"polls of a job of {_POLLED_IMAGES} images answered",
            unit="/s",
            runs=tuple(run.per_second for run in polls),
            goal=at_least(0.99 * _POLLS_PER_SECOND),
        ),
        Figure(name="poll_p99", what="· p99", unit="ms", runs=polled, goal=at_most(50)),
    ]


def _settings(vendor: PacedVendor, scale: Scale) -> dict[str, Any]:
    """One worker with as many calls open at once as several seconds of the pace."""
    fields = {"kind": "gemini", "model": _MODEL, "base_url": vendor.url, "api_key": "bench", "max_concurrency": 250}
    return {
        "slots": 250,
        "max_streams": 2 * (scale.held_clients + scale.streams),
        **{f"providers__paced__{name}": value for name, value in fields.items()},
    }


async def _follow(installation: Installation, vendor: PacedVendor, *, jobs: int) -> Heard:
    """Seconds from each picture's leaving the vendor until the stream of its job has brought `image.completed`."""
    vendor.left.clear()
    heard: dict[str, float] = {}
    async with AsyncExitStack() as streams:
        following = [
            asyncio.create_task(_note(await streams.enter_async_context(_stream(installation, job)), number, heard))
            for number in range(jobs)
            if (job := await _submit(installation, number, _IMAGES_PER_JOB))
        ]
        await vendor.let_go(per_second=_PER_SECOND, pictures=jobs * _IMAGES_PER_JOB)
        await asyncio.gather(*following)
    if heard.keys() != vendor.left.keys():
        raise RuntimeError(f"{len(heard)} of {len(vendor.left)} pictures were heard of; see {installation.log}")
    return Heard(
        per_second=(len(vendor.left) - 1) / (max(vendor.left.values()) - min(vendor.left.values())),
        seconds=[heard[mark] - left for mark, left in vendor.left.items()],
    )


async def _submit(installation: Installation, number: int, images: int) -> str:
    body: dict[str, Any] = {
        "images": [{"id": f"img-{n}", "prompt": prompt_of(number, n)} for n in range(images)],
        "outputs": [],
    }
    return (await installation.post("/v1/jobs", body))["id"]


@asynccontextmanager
async def _stream(installation: Installation, job_id: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """A connection of its own, and the chunks that come over it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", installation.port)
    try:
        path = f"/v1/jobs/{job_id}/events?after=0"
        head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in answer.partition(b"\r\n")[0]:
            raise RuntimeError(f"no stream: {answer!r}")

        async def chunks() -> AsyncIterator[bytes]:
            while chunk := await reader.read(65536):
                yield chunk

        yield chunks()
    finally:
        writer.close()


async def _note(chunks: AsyncIterator[bytes], number: int, heard: dict[str, float]) -> None:
    """When each picture was heard of, until the job has ended."""
    buffer = b""
    async for chunk in chunks:
        now = time.perf_counter()
        buffer += chunk.replace(b"\r\n", b"\n")
        *events, buffer = buffer.split(b"\n\n")
        for event in events:
            if b"event: image.completed" in event:
                image = event.partition(b'"image_id":"img-')[2].partition(b'"')[0].decode()
                heard.setdefault(f"{number}-{image}", now)
            elif _ENDED in event:
                return


async def _hold(installation: Installation, *, clients: int) -> float | None:
    """KiB by which the API grew for each stream that it holds open; None where nobody tells."""
    jobs = [await _submit(installation, number, 1) for number in range(20)]
    before = memory.of(installation).get("api")
    async with AsyncExitStack() as streams:
        for number in range(clients):
            chunks = await streams.enter_async_context(_stream(installation, jobs[number % len(jobs)]))
            await anext(chunks)
        await asyncio.sleep(1.0)
        after = memory.of(installation).get("api")
    return None if before is None or after is None else (after - before) * 1_000_000 / 1024 / clients


async def _poll(installation: Installation, *, seconds: float) -> Polls:
    """Polls at an even pace over connections that are kept, of a job that waits."""
    job_id = await _submit(installation, 0, _POLLED_IMAGES)
    request = f"GET /v1/jobs/{job_id} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n\r\n".encode()
    total = int(seconds * _POLLS_PER_SECOND)
    taken: list[float] = []
    turns = iter(range(total))
    began = time.perf_counter()

    async def poller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", installation.port)
        for turn in turns:
            due = began + turn / _POLLS_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"a poll was answered {head[:40]!r}")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
            taken.append(time.perf_counter() - due)
        writer.close()

    await asyncio.gather(*(poller() for _ in range(_POLLERS)))
    return Polls(per_second=total / (time.perf_counter() - began), seconds=taken)
