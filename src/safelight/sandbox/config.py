from __future__ import annotations

from dataclasses import dataclass

from safelight.sandbox.faults import FaultRate
from safelight.sandbox.latency import INSTANT, Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """`seed` fixes which calls meet a fault by rate and how long each takes.

    `pictures` is how many different ones there are for each aspect ratio and size.
    """

    latency: Latency = INSTANT
    fault_rates: tuple[FaultRate, ...] = ()
    seed: int = 0
    pictures: int = 64
