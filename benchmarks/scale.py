"""How much is measured: enough for medians to mean something, or just enough to see that all of it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Counts are per run. `backlogs` are the queue lengths that admission is measured with, the shortest first;
    the second is measured once more with so many `accounts`."""

    runs: int
    startups: int
    submits: int
    submit_seconds: float
    first_calls: int
    vendor_seconds: float
    plain_images: int
    kept_images: int
    profiled_images: int
    backlogs: tuple[int, ...]
    accounts: int
    admissions: int
    flat_images: int
    render_turns: int
    pairs: int
    attempts: int
    streams: int
    held_clients: int
    poll_seconds: float


FULL = Scale(
    runs=3,
    startups=3,
    submits=300,
    submit_seconds=10.0,
    first_calls=40,
    vendor_seconds=8.0,
    plain_images=2100,
    kept_images=210,
    profiled_images=700,
    backlogs=(100, 10_000, 100_000),
    accounts=100,
    admissions=300,
    flat_images=100_000,
    render_turns=40,
    pairs=200,
    attempts=200,
    streams=200,
    held_clients=1000,
    poll_seconds=10.0,
)
QUICK = Scale(
    runs=1,
    startups=1,
    submits=40,
    submit_seconds=1.0,
    first_calls=5,
    vendor_seconds=1.0,
    plain_images=140,
    kept_images=14,
    profiled_images=140,
    backlogs=(100, 500, 2_000),
    accounts=20,
    admissions=20,
    flat_images=2_800,
    render_turns=3,
    pairs=10,
    attempts=14,
    streams=10,
    held_clients=20,
    poll_seconds=0.5,
)
