"""Whether the processes stay as small as they are: their memory and their files while very many images go through."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from benchmarks import memory, throughput
from benchmarks.figures import Figure, at_most
from benchmarks.installation import Installation, connected, running
from benchmarks.scale import Scale

MARKS_PERCENT = (10, 50, 100)
"""Of the images: where it is looked. What loads late and what caches hold is there by the first of them."""

_GOAL_RATIO = 1.05
_HELD = ("worker", "api")
"""Processes that may not grow with what has passed through them; the others are told without a goal."""

_GOAL_FILES = 10
"""The connections of its pools come and go; what is lost with every thousandth image is more."""

_OPEN_JOBS = 100
_LOOKS = 7
_LOOK_SECONDS = 0.5
_POLL_SECONDS = 0.2
_ENDED_JOBS = "SELECT count(*) FROM jobs WHERE status = 'completed'"
_BYTES = "SELECT pg_database_size(current_database())"
_OTHERWISE = "SELECT id, status FROM jobs WHERE status IN ('partial', 'failed', 'canceled')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Of each process by name, PostgreSQL with its backends as one: the medians of a few looks, in the midst of work.

    `pss_mb` counts pages held in common once, `rss_mb` in each process that has them; `files` are open descriptors.
    """

    pss_mb: Mapping[str, float]
    rss_mb: Mapping[str, float]
    files: Mapping[str, float]


async def measure(scale: Scale, folder: Path | None) -> list[Figure]:
    """With one worker process, the placeholder and no rendition; a hundred jobs are under way at any time."""
    if not psutil.LINUX:
        return []
    async with running(folder, **throughput.SETTINGS) as installation, connected(installation) as database:
        await throughput.warm_up(installation, database)
        jobs = -(-scale.flat_images // throughput.JOB_IMAGES)
        before = await _number(database, _BYTES)
        found = await _pass_through(installation, database, jobs=jobs)
        grown = await _number(database, _BYTES) - before
    return [*_memory(found, scale.flat_images), *_files(found), _database(grown / (jobs * throughput.JOB_IMAGES))]


async def _pass_through(installation: Installation, database: asyncpg.Connection, *, jobs: int) -> list[Standing]:
    """How it stood at each of the marks. Raises RuntimeError when an image did not become a picture."""
    already = await _number(database, _ENDED_JOBS)
    marks = [min(jobs * percent // 100, jobs - _OPEN_JOBS) for percent in MARKS_PERCENT]  # the last are still under way
    looks: list[asyncio.Task[Standing]] = []
    ended = submitted = 0
    while ended < jobs:
        for number in range(submitted, min(jobs, ended + _OPEN_JOBS)):
            await installation.post("/v1/jobs", throughput.job(number, keeps=False))
            submitted = number + 1
        if len(looks) < len(marks) and ended >= marks[len(looks)] and all(look.done() for look in looks):
            looks.append(asyncio.create_task(_look(installation)))
        await asyncio.sleep(_POLL_SECONDS)
        ended = await _number(database, _ENDED_JOBS) - already
        if stuck := await database.fetch(_OTHERWISE):
            raise RuntimeError(f"not every image was completed: {[tuple(row) for row in stuck]}; {installation.log}")
    found = [await look for look in looks]
    while len(found) < len(marks):  # so few images that they were through before the looks were
        found.append(await _look(installation))
    return found


async def _number(database: asyncpg.Connection, question: str) -> int:
    return await database.fetchval(question) or 0


async def _look(installation: Installation) -> Standing:
    """A moment's memory is what is in flight at that moment; the median of several is steadier."""
    looks: list[Standing] = []
    for _ in range(_LOOKS):
        looks.append(await asyncio.to_thread(_standing, installation))
        await asyncio.sleep(_LOOK_SECONDS)
    return Standing(
        pss_mb=_medians([each.pss_mb for each in looks]),
        rss_mb=_medians([each.rss_mb for each in looks]),
        files=_medians([each.files for each in looks]),
    )


def _standing(installation: Installation) -> Standing:
    groups = {name: [process] for name, process in installation.processes().items()}
    postmaster = installation.postgres()
    groups["postgres"] = [postmaster, *postmaster.children(recursive=True)]
    found = {name: [memory.held(each) for each in processes] for name, processes in groups.items()}
    return Standing(
        pss_mb={name: sum(each.pss_mb for each in held) for name, held in found.items()},
        rss_mb={name: sum(each.rss_mb for each in held) for name, held in found.items()},
        files={name: sum(each.files for each in held) for name, held in found.items()},
    )


def _medians(looks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: statistics.median(look[name] for look in looks if name in look) for name in looks[-1]}


def _memory(found: Sequence[Standing], images: int) -> list[Figure]:
    shown = f"{images:,}".replace(",", " ")
    figures: list[Figure] = []
    for name in found[-1].pss_mb:
        figures += [
            Figure(
                name=f"flat_{name}",
                what=f"memory of {memory.called(name)} after {shown} images, over that after a tenth of them",
                unit="×",
                runs=(found[-1].pss_mb[name] / found[0].pss_mb[name],),
                goal=at_most(_GOAL_RATIO) if name in _HELD else None,
            ),
            Figure(
                name=f"flat_{name}_rss",
                what="· the same of its RSS",
                unit="×",
                runs=(found[-1].rss_mb[name] / found[0].rss_mb[name],),
            ),
            *(
                Figure(
                    name=f"flat_{name}_{percent}",
                    what=f"· at {percent} %, PSS",
                    unit="MB",
                    runs=(standing.pss_mb[name],),
                )
                for percent, standing in zip(MARKS_PERCENT, found, strict=True)
            ),
        ]
    return figures


def _files(found: Sequence[Standing]) -> list[Figure]:
    """Of all processes but PostgreSQL's, whose files are tables."""
    return [
        Figure(
            name=f"flat_files_{name}",
            what=f"open files of {memory.called(name)} at {MARKS_PERCENT[-1]} %, beyond those at {MARKS_PERCENT[0]} %",
            unit="files",
            runs=(found[-1].files[name] - found[0].files[name],),
            goal=at_most(_GOAL_FILES) if name in _HELD else None,
        )
        for name in found[-1].files
        if name != "postgres"
    ]


def _database(bytes_per_image: float) -> Figure:
    return Figure(
        name="database_per_image",
        what="database for each image that has ended, with its events, attempt and indexes",
        unit="kB",
        runs=(bytes_per_image / 1000,),
    )
