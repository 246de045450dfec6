"""How long `safelight serve` takes until `/readyz` says yes, and until it is gone."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import Figure, at_most
from benchmarks.installation import prepared
from benchmarks.scale import Scale


async def measure(scale: Scale, folder: Path | None) -> list[Figure]:
    """In a home that is new, where a database cluster is made, and again in the same home after a clean stop, with
    nothing in flight."""
    fresh: list[float] = []
    again: list[float] = []
    stopped: list[float] = []
    for _ in range(scale.startups):
        async with prepared(folder, placeholder=1) as installation:
            fresh.append(await installation.start())
            stopped.append(await installation.stop())
            again.append(await installation.start())
            stopped.append(await installation.stop())
    return [
        Figure(name="startup_existing", what="`serve` until ready, home exists", unit="s", runs=tuple(again)),
        Figure(name="startup_fresh", what="`serve` until ready, new home", unit="s", runs=tuple(fresh)),
        Figure(
            name="stop",
            what="`serve` told to stop with nothing in flight, until all of it is gone",
            unit="s",
            runs=tuple(stopped),
            goal=at_most(1),
        ),
    ]
