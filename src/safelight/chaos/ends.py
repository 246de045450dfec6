"""Whether everything has ended, and ended as its parts did."""

from __future__ import annotations

from collections import Counter, defaultdict

from safelight.chaos.evidence import Evidence
from safelight.domain.attempts import AttemptStatus
from safelight.domain.lifecycle import TERMINAL_IMAGE_STATUSES, TERMINAL_JOB_STATUSES, ended_job_status

_TERMINAL_IMAGES = frozenset(status.value for status in TERMINAL_IMAGE_STATUSES)
_TERMINAL_JOBS = frozenset(status.value for status in TERMINAL_JOB_STATUSES)

_ENDED_ATTEMPTS = frozenset(each.value for each in AttemptStatus) - {AttemptStatus.SENT, AttemptStatus.SUBMITTED}


def stuck(evidence: Evidence) -> list[str]:
    """Jobs, images, claims, calls and queue rows that are still there."""
    found = [f"{job.id} is `{job.status}`" for job in evidence.jobs if job.status not in _TERMINAL_JOBS]
    images = {image.row_id: image for image in evidence.images}
    for image in evidence.images:
        if image.status not in _TERMINAL_IMAGES:
            found.append(f"{image.job_id} {image.id} is `{image.status}`")
        elif image.is_claimed:
            found.append(f"{image.job_id} {image.id} is `{image.status}` and claimed")
    for attempt in evidence.attempts:
        if attempt.status not in _ENDED_ATTEMPTS:
            image = images.get(attempt.image_row_id)
            of = f"{image.job_id} {image.id}" if image else f"image {attempt.image_row_id}"
            found.append(f"{of} #{attempt.number} is `{attempt.status}`")
    found += [f"queue row {row.id} is `{row.status}`" for row in evidence.queue or ()]
    return found + _mistaken(evidence)


def _mistaken(evidence: Evidence) -> list[str]:
    """Jobs that did not end as their images did."""
    by_job: dict[str, Counter[str]] = defaultdict(Counter)
    for image in evidence.images:
        by_job[image.job_id][image.status] += 1
    found = []
    for job in evidence.jobs:
        statuses = by_job[job.id]
        if job.status not in _TERMINAL_JOBS or not statuses.keys() <= _TERMINAL_IMAGES:
            continue
        wanted = ended_job_status(
            total=statuses.total(), completed=statuses["completed"], canceled=statuses["canceled"]
        ).value
        if job.status != wanted:
            found.append(f"{job.id} is `{job.status}`, and its images are {dict(statuses)}")
    return found
