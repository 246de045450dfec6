"""Jobs that have not ended, as far as a list can tell of them, and how the first of them stand in line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safelight.dashboard.inside import Refused
from safelight.dashboard.visit import Visit

LIVE = ("pending", "generating", "canceling")
ENDED = ("completed", "partial", "failed", "canceled")

_MOST_FORESEEN = 8
"""A job's place in line and its forecast are asked for one by one, with all of its images. Chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveJobs:
    """`jobs` are newest first, and the first `most_foreseen` have `queue_position` and `eta_seconds`."""

    jobs: list[Mapping[str, Any]]
    has_more: bool
    most_foreseen: int = _MOST_FORESEEN


async def live_jobs(visit: Visit, *, most: int) -> LiveJobs:
    """Of everybody, to an admin; of their own account, to others. Raises Refused."""
    found = await visit.get("/v1/jobs", status=LIVE, limit=most, account=everybody(visit))
    foreseen = [await _foreseen(visit, job) for job in found["jobs"][:_MOST_FORESEEN]]
    return LiveJobs(jobs=foreseen + found["jobs"][_MOST_FORESEEN:], has_more=found["next_cursor"] is not None)


def everybody(visit: Visit) -> str | None:
    """What lists are asked for as `account` when nothing is said of whose."""
    return "*" if visit.may("admin") else None


async def _foreseen(visit: Visit, job: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        whole = await visit.get(f"/v1/jobs/{job['id']}")
    except Refused:
        return job
    return {name: value for name, value in whole.items() if name != "images"}
