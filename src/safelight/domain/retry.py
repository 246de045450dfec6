"""How long to wait before the next attempt."""

from __future__ import annotations

_STEPS_SECONDS = (1.0, 2.0, 4.0, 8.0, 10.0, 20.0, 40.0, 60.0)
RETRY_AFTER_MIN_SECONDS = 1.0
RETRY_AFTER_MAX_SECONDS = 3600.0


def backoff_seconds(failures: int, *, jitter: float, unit_seconds: float = 1.0) -> float:
    """After `failures` ≥ 1 failures in a row: 1, 2, 4, 8, 10, 20, 40, 60, 60 … units, each spread by ±20 %.

    `jitter` is a random number in [0, 1). `unit_seconds` shortens the steps for tests.
    """
    step = _STEPS_SECONDS[min(failures, len(_STEPS_SECONDS)) - 1]
    return step * unit_seconds * (0.8 + 0.4 * jitter)


def clamp_retry_after(seconds: float) -> float:
    """What a vendor asked for, held between one second and one hour."""
    return min(max(seconds, RETRY_AFTER_MIN_SECONDS), RETRY_AFTER_MAX_SECONDS)
