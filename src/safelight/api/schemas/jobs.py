"""A job, its images and what they cost, as answers show them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from safelight.api.schemas.base import Answer, ImageState, JobState, PriorityWord, Usd


class Counts(Answer):
    total: int
    queued: int
    active: int
    completed: int
    failed: int
    refused: int
    canceled: int
    uncertain: int


class JobCost(Answer):
    """Null: an amount is part of it that nobody knows."""

    estimate_usd: Usd | None
    actual_usd: Usd
    wasted_usd: Usd
    """Part of the actual cost that brought no delivered picture."""
    uncertain_usd: Usd | None
    """Upper bound of what calls with an unknown outcome or price have cost beyond that."""
    credits_held: int | None = None
    """Of what its account has paid in, where it pays in credits."""
    credits_captured: int | None = None
    """For pictures that were delivered: what the job costs the account."""
    held_usd: Usd | None = None
    """The same where it pays in dollars."""
    captured_usd: Usd | None = None


class ImageError(Answer):
    kind: str
    code: str
    message: str
    retryable: bool
    billed: Literal["yes", "no", "unknown"]


class Output(Answer):
    url: str
    width: int
    height: int
    bytes: int
    format: Literal["jpeg", "webp", "png", "avif"]
    """What the bytes are, also of an original."""
    sha256: str


class OrderedOutput(Answer):
    """What is kept of every picture, as it was ordered."""

    name: str
    format: Literal["jpeg", "webp", "png", "avif", "original"]
    width: int | None = None
    """Of the box; an original has none."""
    height: int | None = None
    fit: Literal["cover", "contain", "inside"] | None = None


class Reference(Answer):
    """One of `image`, `upload` and `url`, as it was ordered."""

    image: str | None = None
    upload: str | None = None
    url: str | None = None
    role: str | None


class Mask(Answer):
    upload: str


class Image(Answer):
    id: str
    group: str
    style: str | None = None
    """Whose words stand around its prompt, where there is one."""
    aspect_ratio: str | None = None
    """As it was ordered, where it was."""
    size: str | None = None
    references: list[Reference] | None = None
    """The pictures that it is made from, where there are any."""
    mask: Mask | None = None
    """Where the first of them may be changed."""
    status: ImageState
    failure_stage: Literal["processing", "generating", "uploading", "persisting"] | None = None
    error: ImageError | None = None
    url: str | None = None
    outputs: dict[str, Output] | None = None
    provider: str
    model: str
    attempt_count: int
    retry_count: int
    cost_usd: Usd | None
    """Of all attempts so far. Null: not known."""
    started_at: datetime | None
    completed_at: datetime | None


class JobUrls(Answer):
    self: str
    events: str
    cancel: str
    retry: str
    archive: str


class JobSummary(Answer):
    """A job without its images."""

    id: str
    account: str
    """Whose it is."""
    status: JobState
    run: int
    seq: int
    """Of its newest event."""
    progress: int = Field(ge=0, le=100)
    current_step: str
    counts: Counts
    cost: JobCost
    metadata: dict[str, str]
    retry_count: int
    priority: PriorityWord
    not_before: datetime | None
    """As ordered; a retry does not wait for it."""
    deadline_at: datetime
    deadline_passed: bool
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    visibility: Literal["private", "link"]
    """As ordered."""
    data_removed: bool
    """Its pictures and texts are gone for good, and it cannot be retried."""
    removed_at: datetime | None
    expires_at: datetime | None
    """When they will be. Null: it has not ended, or the installation keeps them."""
    urls: JobUrls


class Job(JobSummary):
    queue_position: int | None
    """Of its first image that waits for its turn, among all that wait for the same provider: 1 is next. Null: none
    waits, or 10 000 and more are before it."""
    eta_seconds: float | None
    """Until its last image has ended, as likely sooner as later. Null: nobody can tell."""
    eta_p90_seconds: float | None
    """The same, with nine chances out of ten."""
    outputs: list[OrderedOutput]
    images: list[Image]


class JobPage(Answer):
    jobs: list[JobSummary]
    next_cursor: str | None
    """Null on the last page."""


class ImageSummary(Answer):
    """An image beside those of other jobs."""

    job_id: str
    account: str
    id: str
    group: str
    style: str | None = None
    status: ImageState
    error: ImageError | None = None
    url: str | None = None
    """Of its picture, in the first of its job's outputs."""
    provider: str
    model: str
    attempt_count: int
    retry_count: int
    cost_usd: Usd | None
    """Of all attempts so far. Null: not known."""
    metadata: dict[str, str]
    """Of its job."""
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None


class ImagePage(Answer):
    images: list[ImageSummary]
    next_cursor: str | None
    """Null on the last page."""
