"""Images per second through the whole durable life, and what an image costs in processor time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from benchmarks.installation import Installation, connected, running

JOB_IMAGES = 14
"""Per job: the size of the jobs that this service is made for."""

_CONCURRENCY = 64
_OPEN = "SELECT EXISTS (SELECT FROM jobs WHERE status IN ('pending', 'generating', 'canceling'))"
_COMPLETED = "SELECT count(*) FROM images WHERE status = 'completed'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """One run: images per second from the first submit to the last job's end, and CPU milliseconds per image."""

    images_per_second: float
    cpu_ms: dict[str, float]


async def drain(installation: Installation, database: asyncpg.Connection, *, images: int, keeps: bool) -> Drain:
    """`keeps`: with the default rendition; else the picture is made, staged and checked, and nothing is stored."""
    jobs = [_job(n, keeps=keeps) for n in range(-(-images // JOB_IMAGES))]
    completed_before = await database.fetchval(_COMPLETED)
    cpu_before = installation.cpu_seconds()
    began = time.perf_counter()
    for job in jobs:
        await installation.post("/v1/jobs", job)
    while await database.fetchval(_OPEN):
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - began
    cpu = installation.cpu_seconds()
    completed = await database.fetchval(_COMPLETED) - completed_before
    if completed != len(jobs) * JOB_IMAGES:
        raise RuntimeError(f"{completed} of {len(jobs) * JOB_IMAGES} images were completed; see {installation.log}")
    return Drain(
        images_per_second=completed / seconds,
        cpu_ms={name: 1000 * (cpu[name] - cpu_before[name]) / completed for name in cpu},
    )


def _job(number: int, *, keeps: bool) -> dict[str, object]:
    images = [{"id": f"img-{n}", "prompt": f"Picture {n} of job {number}"} for n in range(JOB_IMAGES)]
    job: dict[str, object] = {"images": images, "defaults": {"size": "64x64"}}
    return job if keeps else {**job, "outputs": []}
