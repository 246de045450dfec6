"""Images per second through the whole durable life, and what an image costs in processor time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.figures import Figure, at_least
from benchmarks.installation import Installation, connected, running
from benchmarks.scale import Scale

JOB_IMAGES = 14
"""Per job: the size of the jobs that this service is made for."""
SLOTS = 128
"""Of the one worker, and the provider's concurrency: with an instant vendor they only have to keep it busy."""
SETTINGS: Mapping[str, Any] = {
    "slots": SLOTS,
    "providers__instant__kind": "instant",
    "providers__instant__model": "instant-1",
    "providers__instant__max_concurrency": SLOTS,
}
"""Of an installation that `drain` can be done with."""

_OPEN = "SELECT EXISTS (SELECT FROM jobs WHERE status IN ('pending', 'generating', 'canceling'))"
_DONE = """
    SELECT (SELECT count(*) FROM images WHERE status = 'completed') AS images,
           (SELECT max(completed_at) FROM jobs) AS ended_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """One run. `cpu_ms` is processor time per image, by process."""

    images: int
    images_per_second: float
    cpu_ms: Mapping[str, float]


async def measure(scale: Scale, folder: Path | None) -> list[Figure]:
    """With one worker process; runs with and without a rendition take turns."""
    async with running(folder, **SETTINGS) as installation, connected(installation) as database:
        await warm_up(installation, database)
        plain: list[Drain] = []
        kept: list[Drain] = []
        for _ in range(scale.runs):
            plain.append(await drain(installation, database, images=scale.plain_images, keeps=False))
            kept.append(await drain(installation, database, images=scale.kept_images, keeps=True))
    return [
        Figure(
            name="throughput_plain",
            what="images through the whole durable life, no rendition",
            unit="images/s",
            runs=tuple(run.images_per_second for run in plain),
            goal=at_least(450),
        ),
        *_processor_time(plain, "plain"),
        Figure(
            name="throughput_kept",
            what="images through the whole durable life, default rendition",
            unit="images/s",
            runs=tuple(run.images_per_second for run in kept),
        ),
        *_processor_time(kept, "kept"),
    ]


async def warm_up(installation: Installation, database: asyncpg.Connection) -> None:
    """Plans, caches and the render child are there."""
    await drain(installation, database, images=10 * JOB_IMAGES, keeps=True)


async def drain(installation: Installation, database: asyncpg.Connection, *, images: int, keeps: bool) -> Drain:
    """From the first submit to the end of the last job. `keeps`: with the default rendition; else the picture is made,
    staged and checked, and nothing is stored."""
    documents = [job(number, keeps=keeps) for number in range(-(-images // JOB_IMAGES))]
    wanted = len(documents) * JOB_IMAGES
    before, cpu_before = await _done(database), installation.cpu_seconds()
    began = datetime.now(UTC)
    for document in documents:
        await installation.post("/v1/jobs", document)
    while await database.fetchval(_OPEN):  # noqa: ASYNC110 - nobody here could set an event
        await asyncio.sleep(0.05)
    after, cpu = await _done(database), installation.cpu_seconds()
    completed = after["images"] - before["images"]
    if completed != wanted:
        raise RuntimeError(f"{completed} of {wanted} images were completed; see {installation.log}")
    return Drain(
        images=completed,
        images_per_second=completed / (after["ended_at"] - began).total_seconds(),
        cpu_ms={name: 1000 * (cpu[name] - cpu_before[name]) / completed for name in cpu},
    )


async def _done(database: asyncpg.Connection) -> asyncpg.Record:
    """How many images are completed, and when the last job ended."""
    row = await database.fetchrow(_DONE)
    assert row is not None
    return row


def _processor_time(drains: list[Drain], kind: str) -> list[Figure]:
    called = {"worker": "worker", "render": "its render child", "api": "API", "postgres": "PostgreSQL"}
    return [
        Figure(
            name=f"cpu_{kind}_{name}",
            what=f"· processor time per image, {title}",
            unit="ms",
            runs=tuple(run.cpu_ms[name] for run in drains),
        )
        for name, title in called.items()
    ]


def job(number: int, *, keeps: bool) -> dict[str, object]:
    """The document of a job of `JOB_IMAGES`, with the default rendition or with none."""
    images = [{"id": f"img-{n}", "prompt": f"Picture {n} of job {number}"} for n in range(JOB_IMAGES)]
    document: dict[str, object] = {"images": images, "defaults": {"size": "64x64"}}
    return document if keeps else {**document, "outputs": []}
