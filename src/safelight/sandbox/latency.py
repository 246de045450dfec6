"""How long a generation takes: always the same, or log-normal as real vendors are."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

_Z95 = 1.6448536269514722  # standard normal quantile at 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds. Equal percentiles mean a constant.

    Raises ValueError unless 0 ≤ p50 ≤ p95, with a p50 above 0 where they differ.
    """

    p50_seconds: float = 0.0
    p95_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.p50_seconds <= self.p95_seconds or not math.isfinite(self.p95_seconds):
            raise ValueError("a latency needs 0 ≤ p50 ≤ p95, in seconds")
        if self.p50_seconds == 0 < self.p95_seconds:
            raise ValueError("a log-normal latency needs a p50 above 0")

    def sample_seconds(self, rng: random.Random) -> float:
        if self.p50_seconds == self.p95_seconds:
            return self.p50_seconds
        sigma = math.log(self.p95_seconds / self.p50_seconds) / _Z95
        return self.p50_seconds * math.exp(rng.gauss(0.0, sigma))


INSTANT = Latency()


def parse_latency(text: str) -> Latency:
    """`0.05` is constant, `p50=2,p95=6` is log-normal. Raises ValueError."""
    try:
        if "=" not in text:
            return Latency(p50_seconds=float(text), p95_seconds=float(text))
        named = dict(part.strip().split("=", 1) for part in text.split(","))
        if named.keys() != {"p50", "p95"}:
            raise ValueError(f"expected p50 and p95, got {', '.join(sorted(named))}")
        return Latency(p50_seconds=float(named["p50"]), p95_seconds=float(named["p95"]))
    except ValueError as error:
        raise ValueError(f"latency `{text}`: use `0.05` or `p50=2,p95=6` ({error})") from error
