"""What a long queue costs: submits to it, and the images that are made meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from benchmarks import throughput
from benchmarks.figures import Figure, at_least, at_most, percentile
from benchmarks.installation import Installation, connected, running
from benchmarks.scale import Scale

_RATIO_GOALS = (1.5, 3.0)
"""Of the 99th percentile of a submit: with the second and with the third queue, over the first."""

_RATE_GOAL = 0.95
"""Images a second with the longest queue over those with the shortest: unchanged, but for what two runs differ by."""

_FILLERS = 4
_POLL_SECONDS = 0.1
_ENDED_JOBS = "SELECT count(*) FROM jobs WHERE status = 'completed'"
_SINCE = "SELECT count(*) AS images, max(completed_at) AS last FROM images WHERE completed_at >= $1"
_UNDER_WAY = "SELECT EXISTS (SELECT FROM images WHERE status NOT IN ('queued', 'completed') OR admitted_at IS NOT NULL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Queue:
    """An installation of its own, paused, in which so many images wait."""

    images: int
    installation: Installation
    database: asyncpg.Connection

    @property
    def shown(self) -> str:
        return f"{self.images:,} queued".replace(",", " ")


async def measure(scale: Scale, folder: Path | None) -> list[Figure]:
    """Three installations take turns, so that whatever else the machine does falls on all of them."""
    async with AsyncExitStack() as stack:
        queues: list[_Queue] = []
        for images in scale.backlogs:
            installation = await stack.enter_async_context(running(folder, **throughput.SETTINGS))
            database = await stack.enter_async_context(connected(installation))
            await throughput.warm_up(installation, database)
            queues.append(_Queue(images=images, installation=installation, database=database))
        for queue in queues:
            await queue.installation.post("/v1/queue/pause")
            await _fill(queue, queue.images)
        submits = [await _submits(queues, scale.submits) for _ in range(scale.runs)]
        short, long = queues[0], queues[-1]
        rates: list[tuple[float, float]] = []
        for _ in range(scale.runs):
            await _fill(short, scale.plain_images + short.images)
            rates.append((await _rate(short, scale.plain_images), await _rate(long, scale.plain_images)))
    return [*_submit_figures(queues, submits), *_rate_figures(short, long, rates)]


async def _fill(queue: _Queue, images: int) -> None:
    """At least so many images wait, and the database has had a look at them."""
    waiting = (await queue.installation.get("/v1/queue"))["queued"]
    turns = iter(range(max(0, -(-(images - waiting) // throughput.JOB_IMAGES))))

    async def filler() -> None:
        for turn in turns:
            await queue.installation.post("/v1/jobs", throughput.job(turn, keeps=False))

    await asyncio.gather(*(filler() for _ in range(_FILLERS)))
    await queue.database.execute("VACUUM ANALYZE")
    await queue.database.execute("CHECKPOINT")


async def _submits(queues: Sequence[_Queue], count: int) -> list[list[float]]:
    """Seconds of each POST, for each of the queues, over a connection of each that is kept."""
    taken: list[list[float]] = [[] for _ in queues]
    for turn in range(count):
        for queue, seconds in zip(queues, taken, strict=True):
            began = time.perf_counter()
            await queue.installation.post("/v1/jobs", throughput.job(turn, keeps=False))
            seconds.append(time.perf_counter() - began)
    return taken


async def _rate(queue: _Queue, images: int) -> float:
    """Images a second, from the moment the queue is resumed until the last one that was begun before it is paused."""
    already = await _ended(queue)
    began = datetime.now(UTC)
    await queue.installation.post("/v1/queue/resume")
    while (await _ended(queue) - already) * throughput.JOB_IMAGES < images:  # noqa: ASYNC110 - as below
        await asyncio.sleep(_POLL_SECONDS)
    await queue.installation.post("/v1/queue/pause")
    while await queue.database.fetchval(_UNDER_WAY):  # noqa: ASYNC110 - nobody here could set an event
        await asyncio.sleep(_POLL_SECONDS)
    done = await queue.database.fetchrow(_SINCE, began)
    assert done is not None
    return done["images"] / (done["last"] - began).total_seconds()


async def _ended(queue: _Queue) -> int:
    """Jobs."""
    return await queue.database.fetchval(_ENDED_JOBS) or 0


def _submit_figures(queues: Sequence[_Queue], runs: Sequence[Sequence[Sequence[float]]]) -> list[Figure]:
    p99s = [
        Figure(
            name=f"queued_submit_p99_{queue.images}",
            what=f"submit of {throughput.JOB_IMAGES} images, {queue.shown}, p99",
            unit="ms",
            runs=tuple(1000 * percentile(run[n], 99) for run in runs),
            goal=at_most(100),
        )
        for n, queue in enumerate(queues)
    ]
    ratios = [
        Figure(
            name=f"queued_submit_ratio_{queues[n].images}",
            what=f"· {queues[n].shown}, over {queues[0].shown}",
            unit="×",
            runs=tuple(percentile(run[n], 99) / percentile(run[0], 99) for run in runs),
            goal=at_most(goal),
        )
        for n, goal in enumerate(_RATIO_GOALS, start=1)
    ]
    return [*p99s, *ratios]


def _rate_figures(short: _Queue, long: _Queue, rates: Sequence[tuple[float, float]]) -> list[Figure]:
    rows = [
        Figure(
            name=f"queued_throughput_{queue.images}",
            what=f"images through the whole durable life, {queue.shown}, no rendition",
            unit="images/s",
            runs=tuple(pair[n] for pair in rates),
        )
        for n, queue in enumerate((short, long))
    ]
    ratio = Figure(
        name="queued_throughput_ratio",
        what=f"· {long.shown}, over {short.shown}",
        unit="×",
        runs=tuple(pair[1] / pair[0] for pair in rates),
        goal=at_least(_RATE_GOAL),
    )
    return [*rows, ratio]
