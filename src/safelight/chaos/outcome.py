"""What came of a soak: the verdict, how much was broken on the way, and how fast it was whole again."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from statistics import median
from typing import Any

from safelight.chaos.evidence import Evidence
from safelight.chaos.plan import Plan
from safelight.chaos.verdict import Verdict
from safelight.chaos.watch import Watch
from safelight.domain.events import EventType

RECLAIM_GOAL_SECONDS = 20.0
"""A worker is silent for 15 seconds before others may have its images."""
FIRST_SUCCESS_GOAL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of the same thing, happened so many times. None: it never did."""

    count: int
    median_seconds: float | None
    most_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`did` counts what was done to it, `left` what was still under way when patience ended, `swept` what each sweep
    found afterwards. `reclaims` are from a worker's SIGKILL until its images were another's, `struck_twice` those that
    a second worker was brought and failed before it had them, `delayed` those with an outage of PostgreSQL in between;
    `first_successes` from PostgreSQL being back until a picture was completed."""

    plan: Plan
    verdict: Verdict
    did: Mapping[str, int]
    reclaims: Times
    struck_twice: Times
    delayed: Times
    unclaimed: int
    first_successes: Times
    quiet_seconds: float
    left: Mapping[str, int]
    swept: Sequence[int]
    began: datetime

    @property
    def is_kept(self) -> bool:
        """The promise was: all was judged, nothing was found, nothing is under way, and nothing is left to heal."""
        return self.verdict.is_kept and self.verdict.is_judged and not self.left and self.swept[-1] == 0

    def as_json(self) -> dict[str, Any]:
        return {
            "kept": self.is_kept,
            "began": self.began.isoformat(timespec="seconds"),
            "plan": asdict(self.plan),
            "verdict": self.verdict.as_json(),
            "did": dict(self.did),
            "reclaims": asdict(self.reclaims),
            "struck_twice_reclaims": asdict(self.struck_twice),
            "delayed_reclaims": asdict(self.delayed),
            "unclaimed": self.unclaimed,
            "first_successes": asdict(self.first_successes),
            "quiet_seconds": round(self.quiet_seconds, 1),
            "left": dict(self.left),
            "swept": list(self.swept),
        }


def outcome_of(
    plan: Plan,
    verdict: Verdict,
    evidence: Evidence,
    *,
    did: Counter[str],
    watch: Watch,
    back_at: Sequence[datetime],
    began: datetime,
    quiet_seconds: float,
    left: Mapping[str, int],
    swept: Sequence[int],
) -> Outcome:
    """Works out the times; everything else is as it was seen."""
    return Outcome(
        plan=plan,
        verdict=verdict,
        did=dict(sorted(did.items())),
        reclaims=times(watch.reclaim_seconds),
        struck_twice=times(watch.struck_twice_seconds),
        delayed=times(watch.delayed_seconds),
        unclaimed=watch.unclaimed,
        first_successes=times(first_successes_seconds(evidence, back_at)),
        quiet_seconds=quiet_seconds,
        left=left,
        swept=swept,
        began=began,
    )


def first_successes_seconds(evidence: Evidence, back_at: Sequence[datetime]) -> list[float]:
    """From each of these moments until the next picture was completed; without those that none followed."""
    completed = sorted(event.at for event in evidence.events if event.type == EventType.IMAGE_COMPLETED)
    found = []
    for moment in back_at:
        following = bisect.bisect_right(completed, moment)
        if following < len(completed):
            found.append((completed[following] - moment).total_seconds())
    return found


def times(seconds: Sequence[float]) -> Times:
    return Times(
        count=len(seconds),
        median_seconds=round(median(seconds), 2) if seconds else None,
        most_seconds=round(max(seconds), 2) if seconds else None,
    )
