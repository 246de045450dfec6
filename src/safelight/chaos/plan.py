"""What a soak does to an installation, and how often."""

from __future__ import annotations

import random
from dataclasses import dataclass

VENDORS = {
    "gemini": "gemini-3.1-flash-lite-image",
    "openai": "gpt-image-2",
    "replicate": "black-forest-labs/flux-schnell",
    "fal": "fal-ai/flux/dev",
}
"""Every vendor that the sandbox stands in for, with the model that is asked for."""

_ANY_VENDOR = "429 1=0.03,500=0.02,503=0.02,504=0.02,cut=0.02,reset=0.015,hang 60=0.01,garbage=0.03"
FAULT_RATES = {
    "gemini": f"{_ANY_VENDOR},refuse=0.015,no-image=0.02",
    "openai": f"{_ANY_VENDOR},refuse=0.02,empty=0.015",
    "replicate": f"{_ANY_VENDOR},refuse=0.015,failed=0.01,canceled=0.01",
    "fal": f"{_ANY_VENDOR},nsfw=0.015,failed=0.01,refuse=0.01",
}
"""A fifth of the calls of each."""

TROUBLED_JOBS = (
    "poll 503 x2",
    "poll cut x1",
    "poll 429 1 x1",
    "poll hang 0.5 x1",
    "poll html x1",
    "result 500 x1",
    "file 503 x1",
    "file cut x1",
    "file half-body x1",
    "file 404",
)
"""What some images of vendors with jobs of their own meet besides."""

LATENCY = "p50=0.4,p95=1.2"
"""Seconds that a picture takes its vendor."""

WORKER_SETTINGS = {
    "slots": 16,
    "grace_seconds": 5,
    "poll_seconds": 0.5,
    "sweep_seconds": 3,
    "retry_unit_seconds": 0.2,
    "probe_seconds": 2,
    "probe_max_seconds": 10,
    "min_free_bytes": 0,
    "log_level": "warning",
}
"""Shorter than the defaults, so that what waits does not wait for minutes. Leases and heartbeats are the defaults."""

TIMEOUT_SECONDS = 8.0
"""Of one attempt."""

_JOBS_PER_MINUTE = 200
_SHORTEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`minutes` of storm, then as long as it takes until all is quiet, `patience_seconds` at most. The same `seed` does
    the same things in the same order, as far as processes and networks let it. `jobs` None: as many as fit the minutes.

    Within a storm of less than two minutes things happen more often, so that each of them happens.
    """

    minutes: float = 10.0
    seed: int = 0
    jobs: int | None = None
    workers: int = 4
    apis: int = 2
    patience_seconds: float = 300.0
    kill_seconds: tuple[float, float] = (10.0, 20.0)
    stall_seconds: tuple[float, float] = (20.0, 40.0)
    kill_api_seconds: tuple[float, float] = (25.0, 50.0)
    store_seconds: tuple[float, float] = (30.0, 60.0)
    restart_seconds: tuple[float, float] = (60.0, 60.0)

    @property
    def seconds(self) -> float:
        return self.minutes * 60

    @property
    def wanted_jobs(self) -> int:
        return self.jobs if self.jobs is not None else max(1, round(self.minutes * _JOBS_PER_MINUTE))

    @property
    def pause_between_jobs_seconds(self) -> float:
        return self.seconds / self.wanted_jobs

    def dice(self, purpose: str) -> random.Random:
        """Its own for each purpose, so that what one does changes nothing for the others."""
        return random.Random(f"{self.seed}/{purpose}")  # noqa: S311

    def pause_seconds(self, between: tuple[float, float], dice: random.Random) -> float:
        """Until the same thing happens again."""
        return max(_SHORTEST_PAUSE_SECONDS, dice.uniform(*between) * min(1.0, self.seconds / 120))
