"""When a message that was not taken is sent again, and when it is given up."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from safelight.domain.events import JOB_ENDS, PROGRESS

LONG_SECONDS = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""Pauses after each failed attempt at a message about a job's end: ten attempts over three days. That of Standard
Webhooks (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)."""
SHORT_SECONDS = (5.0, 30.0, 120.0)
"""Of any other message: four attempts within minutes. Chosen: late news of the way only delays the news of the end."""
DISABLE_AFTER_SECONDS = 120 * 3600.0
"""An endpoint that has taken nothing for so long is sent nothing more. Chosen: longer than a message is tried for."""

KEPT_TYPES = tuple(each.value for each in JOB_ENDS)
"""What is worth days of trying."""

_JITTER = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The pauses in seconds, and the share by which each is made longer or shorter at random."""

    long_seconds: Sequence[float] = LONG_SECONDS
    short_seconds: Sequence[float] = SHORT_SECONDS
    disable_after_seconds: float = DISABLE_AFTER_SECONDS
    jitter: float = _JITTER
    uniform: Callable[[float, float], float] = random.uniform

    @property
    def patience_seconds(self) -> float:
        """How long a message that is not about an end may wait in a lane that fails."""
        return sum(self.short_seconds) * (1 + self.jitter)

    def after_failure(self, failure: Failure) -> Again | Dead:
        if failure.type == PROGRESS:
            return Dead(rest_seconds=failure.asked_seconds)
        is_kept = failure.type in KEPT_TYPES
        pauses = self._of_endpoint(failure) if is_kept else self.short_seconds
        waited_seconds = max(min(failure.age_seconds, failure.failing_seconds), failure.asked_seconds or 0.0)
        if failure.attempts > len(pauses) or (not is_kept and waited_seconds >= self.patience_seconds):
            return Dead(rest_seconds=failure.asked_seconds)
        pause = pauses[failure.attempts - 1] * self.uniform(1 - self.jitter, 1 + self.jitter)
        return Again(after_seconds=max(pause, failure.asked_seconds or 0.0))

    def _of_endpoint(self, failure: Failure) -> Sequence[float]:
        return self.long_seconds if failure.retry_seconds is None else failure.retry_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A message that was not taken, for the `attempts`-th time.

    `age_seconds` have passed since it was wanted, `failing_seconds` since the first failure in a row of its lane.
    `asked_seconds` of rest are what the receiver asked for, if it did; `retry_seconds` its endpoint's own pauses, if it
    has any.
    """

    type: str
    attempts: int
    age_seconds: float
    failing_seconds: float
    asked_seconds: float | None = None
    retry_seconds: Sequence[float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """Given up; kept, and sent again when somebody asks. The next one is tried at once, or after `rest_seconds`."""

    rest_seconds: float | None
