"""What it costs to bring an image through three durable changes, and not to lose it: Safelight and its peers."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.figures import Figure, Goal, at_least
from benchmarks.peers.contest import JOB_IMAGES, Contestant, Run
from benchmarks.peers.stage import has_redis, open_stage

SAFELIGHT = Contestant(name="safelight", what="Safelight")
TWO_WORKERS = Contestant(name="safelight_two", what="Safelight, two workers", workers=2)
DBOS_IMAGES = 50 * JOB_IMAGES
"""Enough for a rate, and a third of what the others are given."""
QUEUES = (
    Contestant(name="pgqueuer", what="bare PgQueuer", module="pgqueuer_bare"),
    Contestant(name="procrastinate", what="Procrastinate", module="procrastinate_peer"),
    Contestant(name="celery", what="Celery, threads", module="celery_peer", wants_redis=True),
    Contestant(name="celery_two", what="Celery, prefork 2", module="celery_peer", workers=2, wants_redis=True),
    Contestant(name="dbos", what="DBOS Transact", module="dbos_peer", most_images=DBOS_IMAGES),
)
"""They handle no picture."""
KEEPERS = tuple(
    replace(each, name=f"{each.name}_keeps", what=f"{each.what}, and keeps the picture", keeps=True) for each in QUEUES
)
"""The same, with what an application does besides: it checks each picture and keeps it. That is Safelight's work."""
CONTESTANTS = {each.name: each for each in (SAFELIGHT, TWO_WORKERS, *KEEPERS, *QUEUES)}
NOT_MEASURED = "redis-server is not installed"

_GOALS = {
    "pgqueuer": at_least(0.5),
    "procrastinate": at_least(1.5),
    "celery": at_least(1.5),
    "celery_two": at_least(1.5),
    "dbos": at_least(7.0),
}
GOALS: Mapping[str, Goal] = _GOALS | {f"{name}_keeps": goal for name, goal in _GOALS.items()}
"""Safelight's images per second over this peer's; the same where it keeps the picture and where it has none."""
TWO_WORKERS_GOAL = at_least(1.6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One contestant. `runs` is empty where it could not be measured. `ratio` is Safelight's rate over this one's,
    round by round; for Safelight with two workers its own over that of one."""

    contestant: Contestant
    runs: tuple[Run, ...]
    ratio: tuple[float, ...] = ()
    goal: Goal | None = None

    @property
    def is_met(self) -> bool | None:
        return self.goal.is_met_by(statistics.median(self.ratio)) if self.goal and self.ratio else None


async def measure(*, images: int, runs: int, folder: Path | None, only: Sequence[str] | None = None) -> list[Row]:
    """Round by round everybody once, the first of one being the last of the next."""
    chosen = [each for each in CONTESTANTS.values() if only is None or each.name in only]
    measured = [each for each in chosen if not each.wants_redis or has_redis()]
    found: dict[str, list[Run]] = {each.name: [] for each in chosen}
    async with open_stage(folder) as stage:
        for number in range(runs):
            turn = number % len(measured) if measured else 0
            for contestant in (*measured[turn:], *measured[:turn]):
                sys.stderr.write(f"{contestant.what} … ")
                sys.stderr.flush()
                run = await contestant.run(stage, images)
                sys.stderr.write(f"{run.images_per_second:.0f}/s\n")
                found[contestant.name].append(run)
    return rows(chosen, found)


def rows(chosen: Sequence[Contestant], found: Mapping[str, Sequence[Run]]) -> list[Row]:
    """In the order given, each with its ratio to Safelight where both were measured."""
    ours = [run.images_per_second for run in found.get(SAFELIGHT.name, ())]
    made: list[Row] = []
    for each in chosen:
        runs = tuple(found[each.name])
        theirs = [run.images_per_second for run in runs]
        ratio, goal = (), GOALS.get(each.name)
        if each is TWO_WORKERS:
            ratio, goal = tuple(two / one for two, one in zip(theirs, ours, strict=False)), TWO_WORKERS_GOAL
        elif each is not SAFELIGHT:
            ratio = tuple(our / their for our, their in zip(ours, theirs, strict=False))
        made.append(Row(contestant=each, runs=runs, ratio=ratio, goal=goal))
    return made


def figures(measured: Sequence[Row]) -> list[Figure]:
    """For programs: rate, processor time and ratio of each."""
    made: list[Figure] = []
    for row in measured:
        if not row.runs:
            continue
        name, what = row.contestant.name, row.contestant.what
        rates = tuple(run.images_per_second for run in row.runs)
        made += [
            Figure(name=f"peer_{name}", what=what, unit="images/s", runs=rates),
            Figure(name=f"peer_{name}_worker", what=what, unit="ms", runs=tuple(run.worker_ms for run in row.runs)),
            Figure(name=f"peer_{name}_store", what=what, unit="ms", runs=tuple(run.store_ms for run in row.runs)),
        ]
        if row.ratio:
            made.append(Figure(name=f"peer_{name}_ratio", what=what, unit="×", runs=row.ratio, goal=row.goal))
    return made
