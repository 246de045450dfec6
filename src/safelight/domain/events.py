"""The types of the ordered event log of a job."""

from __future__ import annotations

from enum import StrEnum

from safelight.domain.lifecycle import ImageStatus, JobStatus


class EventType(StrEnum):
    JOB_CREATED = "job.created"
    JOB_STARTED = "job.started"
    JOB_COMPLETED = "job.completed"
    JOB_PARTIAL = "job.partial"
    JOB_FAILED = "job.failed"
    JOB_CANCELING = "job.canceling"
    JOB_CANCELED = "job.canceled"
    JOB_RETRIED = "job.retried"
    JOB_DEADLINE_PASSED = "job.deadline_passed"
    IMAGE_STARTED = "image.started"
    IMAGE_RECEIVED = "image.received"
    IMAGE_RETRYING = "image.retrying"
    IMAGE_COMPLETED = "image.completed"
    IMAGE_FAILED = "image.failed"
    IMAGE_REFUSED = "image.refused"
    IMAGE_CANCELED = "image.canceled"
    IMAGE_UNCERTAIN = "image.uncertain"
    IMAGE_STUCK = "image.stuck"


PROGRESS = "job.progress"
"""How far a job is, for webhooks that want it: derived when it is sent, and in no log."""

JOB_ENDS = (EventType.JOB_COMPLETED, EventType.JOB_PARTIAL, EventType.JOB_FAILED, EventType.JOB_CANCELED)
"""What ends a run."""


class NoticeType(StrEnum):
    """What concerns an account or the whole installation, and no job."""

    PROVIDER_PAUSED = "provider.paused"
    PROVIDER_RESUMED = "provider.resumed"
    SCHEDULE_AT_RISK = "schedule.at_risk"
    BUDGET_THRESHOLD = "budget.threshold"


def image_ended(status: ImageStatus) -> EventType:
    """The event of an image that reached a terminal state."""
    return EventType(f"image.{status.value}")


def job_ended(status: JobStatus) -> EventType:
    """The one terminal event of a run."""
    return EventType(f"job.{status.value}")
