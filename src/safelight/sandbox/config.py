from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from safelight.sandbox.faults import FaultRate
from safelight.sandbox.latency import INSTANT, Latency


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """`seed` fixes which calls meet a fault by rate and how long each takes.

    `fault_rates` are those of every vendor that `vendor_fault_rates` does not name; a vendor that lacks a fault is
    spared it. `pictures` is how many different ones there are for each aspect ratio and size.
    """

    latency: Latency = INSTANT
    fault_rates: tuple[FaultRate, ...] = ()
    vendor_fault_rates: Mapping[str, tuple[FaultRate, ...]] = field(default_factory=dict[str, tuple[FaultRate, ...]])
    seed: int = 0
    pictures: int = 64
