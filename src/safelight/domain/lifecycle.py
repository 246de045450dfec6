"""The lifecycles of an image and of a job: the only place that says which state may follow which.

Terminal sets, docs/lifecycle.md and the checks of every `.sql` statement derive from the tables below. A transition has
a reason, because several reasons can lead to one state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


class ImageStatus(StrEnum):
    """Where one image stands.

    Each state says who moves the image on, and what a crash there leaves behind.
    """

    QUEUED = "queued"
    """Waits for admission, which moves it on; before that for its job's time, and for the pictures of images that it
    references. Nothing runs; a crash leaves nothing."""
    PROCESSING = "processing"
    """A worker holds the claim and looks back at earlier attempts. After a crash it is claimed again."""
    GENERATING = "generating"
    """The attempt is committed and may be on the wire. A crash leaves an attempt of unknown outcome."""
    UPLOADING = "uploading"
    """The vendor's bytes are staged. A crash costs nothing: the bytes are adopted by the next claim."""
    COMPLETED = "completed"
    """Renditions are stored and the image is settled. For ever."""
    FAILED = "failed"
    """No picture, and the engine will not try again by itself. The user's retry moves it on."""
    REFUSED = "refused"
    """The vendor's safety policy said no: a result, not a fault. The user's retry moves it on."""
    CANCELED = "canceled"
    """The caller ended it. A picture that still came is kept, and the user's retry uses it for free."""
    UNCERTAIN = "uncertain"
    """A call was made and its outcome is lost; it may be billed. A late receipt or a retry moves it on."""


class JobStatus(StrEnum):
    """Where one run of a job stands."""

    PENDING = "pending"
    """Accepted; no attempt has been committed yet."""
    GENERATING = "generating"
    """An attempt has been committed, or a later run has begun."""
    CANCELING = "canceling"
    """The caller canceled; calls that were already sent wind down."""
    COMPLETED = "completed"
    """Every image has its picture."""
    PARTIAL = "partial"
    """Some images have their picture, the others say why not."""
    FAILED = "failed"
    """No image has a picture."""
    CANCELED = "canceled"
    """The caller ended at least one image."""


class FailureStage(StrEnum):
    """Where an image ended that has no picture."""

    PROCESSING = "processing"
    GENERATING = "generating"
    UPLOADING = "uploading"
    PERSISTING = "persisting"


@dataclass(frozen=True, slots=True)
class Transition(Generic[S]):
    """One edge. A state that is reached twice from the same state for different reasons has two edges."""

    source: S
    target: S
    reason: str


def _edges(sources: tuple[S, ...], target: S, *reasons: str) -> tuple[Transition[S], ...]:
    return tuple(Transition(source, target, reason) for source in sources for reason in reasons)


_Q, _P, _G, _U = ImageStatus.QUEUED, ImageStatus.PROCESSING, ImageStatus.GENERATING, ImageStatus.UPLOADING

IMAGE_TRANSITIONS: tuple[Transition[ImageStatus], ...] = (
    *_edges((_Q,), _P, "claimed by a worker, under a new claim token"),
    *_edges((_P, _G, _U), _P, "claimed again: the former owner's lease is lost, new claim token"),
    *_edges((_P,), _G, "attempt committed, about to be sent"),
    *_edges((_P,), _U, "the bytes of an earlier attempt were found"),
    *_edges((_G,), _U, "bytes received, staged and verified"),
    *_edges((_U,), ImageStatus.COMPLETED, "renditions stored, settled"),
    *_edges(
        (_P, _G, _U),
        _Q,
        "retry at a later time",
        "waits for a call that may still answer",
        "waits for a job at the vendor",
        "goes on at the next provider, or with another prompt",
        "released at shutdown",
    ),
    *_edges((_Q, _P, _G, _U), ImageStatus.FAILED, "the error's kind says why"),
    *_edges((_Q, _P, _G, _U), ImageStatus.CANCELED, "the caller canceled"),
    *_edges((_P, _G), ImageStatus.REFUSED, "the vendor's safety policy said no"),
    *_edges((_P, _G), ImageStatus.UNCERTAIN, "outcome unknown and no re-buy allowed"),
    *_edges(
        (ImageStatus.FAILED, ImageStatus.REFUSED, ImageStatus.CANCELED, ImageStatus.UNCERTAIN),
        _Q,
        "the user's retry",
    ),
    *_edges((ImageStatus.UNCERTAIN, ImageStatus.FAILED), _U, "a late receipt is adopted"),
)

_OPEN_JOB = (JobStatus.PENDING, JobStatus.GENERATING, JobStatus.CANCELING)

JOB_TRANSITIONS: tuple[Transition[JobStatus], ...] = (
    *_edges((JobStatus.PENDING,), JobStatus.GENERATING, "the first attempt is committed"),
    *_edges((JobStatus.PENDING, JobStatus.GENERATING), JobStatus.CANCELING, "the caller canceled, calls wind down"),
    *_edges(_OPEN_JOB, JobStatus.CANCELED, "last image ended, the caller canceled at least one"),
    *_edges(_OPEN_JOB, JobStatus.COMPLETED, "last image ended, all completed"),
    *_edges(_OPEN_JOB, JobStatus.PARTIAL, "last image ended, at least one completed"),
    *_edges(_OPEN_JOB, JobStatus.FAILED, "last image ended, none completed"),
    *_edges(
        (JobStatus.COMPLETED, JobStatus.PARTIAL, JobStatus.FAILED, JobStatus.CANCELED),
        JobStatus.GENERATING,
        "next run: the user's retry, or a late receipt",
    ),
)

LIVE_IMAGE_STATUSES = frozenset({_P, _G, _U})
TERMINAL_IMAGE_STATUSES = frozenset(ImageStatus) - LIVE_IMAGE_STATUSES - {_Q}
RETRYABLE_IMAGE_STATUSES = frozenset(t.source for t in IMAGE_TRANSITIONS if t.reason == "the user's retry")
TERMINAL_JOB_STATUSES = frozenset(JobStatus) - frozenset(_OPEN_JOB)


def may_follow(source: ImageStatus, target: ImageStatus) -> bool:
    """Whether an image may go from `source` to `target`, for whatever reason."""
    return any(t.source is source and t.target is target for t in IMAGE_TRANSITIONS)


def ended_job_status(*, total: int, completed: int, canceled: int) -> JobStatus:
    """The state of a job whose images are all terminal, from how many ended how."""
    if canceled:
        return JobStatus.CANCELED
    if completed == total:
        return JobStatus.COMPLETED
    return JobStatus.PARTIAL if completed else JobStatus.FAILED
