"""How long the engine waits for what. Every figure is a setting, so that tests run in fractions of a second."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """`lease_seconds` of silence make a worker dead; beats come at a third of it.

    `grace_seconds` pass after an attempt's deadline before its outcome counts as lost. `retry_unit_seconds` scales the
    backoff. `run_limit_seconds` is the end of a run whose deadline lets it continue. A vendor's job is asked after
    every `poll_seconds`. A provider that is paused is tried `probe_seconds` later, then after twice that, and so on up
    to `probe_max_seconds`. What has not moved for `stuck_seconds` although nothing explains it is told of. Events of
    a job that ended are forgotten when the newest is `event_retention_days` old. What is held for an image of unknown
    outcome is given back after `adoption_window_seconds`.
    """

    lease_seconds: float = 15.0
    grace_seconds: float = 15.0
    sweep_seconds: float = 10.0
    admission_seconds: float = 1.0
    dequeue_seconds: float = 2.0
    retry_unit_seconds: float = 1.0
    run_limit_seconds: float = 86_400.0
    poll_seconds: float = 1.0
    probe_seconds: float = 10.0
    probe_max_seconds: float = 300.0
    render_seconds: float = 30.0
    stuck_seconds: float = 600.0
    event_retention_days: float = 90.0
    adoption_window_seconds: float = 86_400.0

    @property
    def beat_seconds(self) -> float:
        return self.lease_seconds / 3
