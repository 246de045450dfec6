"""A job in numbers and words, from how many of its images are where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from safelight.domain.lifecycle import TERMINAL_IMAGE_STATUSES, ImageStatus, JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Images by state; `active` are those that a worker holds. The seven add up to `total`."""

    total: int
    queued: int
    active: int
    completed: int
    failed: int
    refused: int
    canceled: int
    uncertain: int

    @property
    def ended(self) -> int:
        return self.total - self.queued - self.active


def count(images: Mapping[ImageStatus, int]) -> Counts:
    """Counts from the number of images in each state; absent states count 0."""
    get = images.get
    live = sum(n for status, n in images.items() if status not in TERMINAL_IMAGE_STATUSES)
    return Counts(
        total=sum(images.values()),
        queued=get(ImageStatus.QUEUED, 0),
        active=live - get(ImageStatus.QUEUED, 0),
        completed=get(ImageStatus.COMPLETED, 0),
        failed=get(ImageStatus.FAILED, 0),
        refused=get(ImageStatus.REFUSED, 0),
        canceled=get(ImageStatus.CANCELED, 0),
        uncertain=get(ImageStatus.UNCERTAIN, 0),
    )


def percent(counts: Counts) -> int:
    """Ended images in whole percent, rounded down: 100 only when every image has ended."""
    return 100 * counts.ended // counts.total if counts.total else 100


def report(status: JobStatus, counts: Counts) -> dict[str, Any]:
    """How far a job is, as everybody who watches it is told."""
    return {
        "status": status.value,
        "progress": percent(counts),
        "current_step": current_step(status, counts),
        "counts": asdict(counts),
    }


def current_step(status: JobStatus, counts: Counts, *, waits: str | None = None) -> str:
    """What the job is doing, in words for the person who waits. `waits` is what keeps a live one from going on, where
    that is known: `waiting for 12 other images`."""
    done = f"{counts.completed}/{counts.total}"
    match status:
        case JobStatus.PENDING:
            return f"{waits[0].upper()}{waits[1:]}" if waits else "Waiting to start"
        case JobStatus.GENERATING:
            step = f"Generating images… {counts.ended}/{counts.total}"
            return f"{step}, {waits}" if waits else step
        case JobStatus.CANCELING:
            return f"Canceling… {counts.active} still winding down"
        case JobStatus.COMPLETED:
            return f"Completed: {done} images"
        case JobStatus.PARTIAL:
            return f"Partly completed: {done} images"
        case JobStatus.FAILED:
            return "Failed: no image could be generated"
        case JobStatus.CANCELED:
            return f"Canceled: {done} images were completed"
