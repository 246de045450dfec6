"""What the service shows, as values: a job and its images, an event, a page of the feed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from safelight.domain.lifecycle import TERMINAL_IMAGE_STATUSES, TERMINAL_JOB_STATUSES, ImageStatus, JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputView:
    """One stored rendition, as the job describes it."""

    name: str
    format: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageView:
    """One image as last seen. `error` says in words why it has no picture; None while that is open."""

    id: str
    group: str
    status: ImageStatus
    attempt_count: int
    cost_usd: str | None
    error: str | None
    outputs: tuple[OutputView, ...]

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL_IMAGE_STATUSES


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A picture that was uploaded, as it is kept; at least until `expires_at`, in ISO 8601. `has_alpha`: it can be a
    mask."""

    id: str
    width_px: int
    height_px: int
    format: str
    sha256: str
    has_alpha: bool
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job as last seen; `document` is the answer with every field. Amounts are decimal US dollars."""

    id: str
    status: JobStatus
    run: int
    current_step: str
    images: tuple[ImageView, ...]
    actual_usd: str | None
    uncertain_usd: str | None
    document: Mapping[str, Any] = field(repr=False)

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL_JOB_STATUSES

    @property
    def completed(self) -> tuple[ImageView, ...]:
        return tuple(image for image in self.images if image.status is ImageStatus.COMPLETED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """`replayed`: the idempotency key had been used for this request before; this is the job it made then."""

    job: JobView
    replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a job would cost and how long it may take; `document` is the answer with every field.

    Amounts are decimal US dollars that vendors may bill, None: nobody knows. `balance_after` is what the account would
    have left, in credits or in dollars as a text, None: it pays nothing in advance. `affordable`: a submit is not
    refused for it. Seconds are from now until the last picture, None: nobody can tell. `notes` are for people.
    """

    images: int
    low_usd: str | None
    likely_usd: str | None
    high_usd: str | None
    balance_after: int | str | None
    affordable: bool
    p50_seconds: float | None
    p90_seconds: float | None
    notes: tuple[str, ...]
    document: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened, `image.completed` for example; `data` is what the service tells of it.

    `seq` is its place in its job's log, 1, 2, 3 … without a gap. None: it has none, like `job.progress` and what
    concerns no job. `timestamp` is as the service writes it, in ISO 8601; None where the stream speaks of itself.
    """

    type: str
    data: Mapping[str, Any]
    seq: int | None = None
    timestamp: str | None = None

    @property
    def image_id(self) -> str | None:
        """The image it concerns, if it concerns one."""
        return self.data.get("image_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPage:
    """Events of all jobs; `next_cursor` is where to read on, worth keeping once they are taken care of."""

    events: tuple[Event, ...]
    next_cursor: str


def job_view(document: dict[str, Any]) -> JobView:
    """From the job as the service answers it."""
    cost: dict[str, Any] = document.get("cost") or {}
    return JobView(
        id=document["id"],
        status=JobStatus(document["status"]),
        run=document["run"],
        current_step=document["current_step"],
        images=tuple(_image(each) for each in document["images"]),
        actual_usd=cost.get("actual_usd"),
        uncertain_usd=cost.get("uncertain_usd"),
        document=document,
    )


def quote_view(document: dict[str, Any]) -> Quote:
    """From a quote as the service answers it."""
    estimate: dict[str, Any] = document["estimate_usd"]
    eta: dict[str, Any] = document["eta_seconds"] or {}
    return Quote(
        images=document["images"],
        low_usd=estimate["low"],
        likely_usd=estimate["likely"],
        high_usd=estimate["high"],
        balance_after=document["balance_after"],
        affordable=document["affordable"],
        p50_seconds=eta.get("p50"),
        p90_seconds=eta.get("p90"),
        notes=tuple(document["notes"]),
        document=document,
    )


def upload_view(document: dict[str, Any]) -> Upload:
    """From an upload as the service answers it."""
    return Upload(
        id=document["id"],
        width_px=document["width"],
        height_px=document["height"],
        format=document["format"],
        sha256=document["sha256"],
        has_alpha=document["has_alpha"],
        expires_at=document["expires_at"],
    )


def feed_page(document: dict[str, Any]) -> FeedPage:
    """From a page of `GET /v1/events`."""
    return FeedPage(events=tuple(map(event_view, document["events"])), next_cursor=document["next_cursor"])


def event_view(envelope: dict[str, Any]) -> Event:
    """From `{"type", "timestamp", "data"}`."""
    data: dict[str, Any] = envelope["data"]
    return Event(type=envelope["type"], timestamp=envelope["timestamp"], data=data, seq=data.get("seq"))


def _image(document: dict[str, Any]) -> ImageView:
    error: dict[str, Any] | None = document.get("error")
    return ImageView(
        id=document["id"],
        group=document["group"],
        status=ImageStatus(document["status"]),
        attempt_count=document.get("attempt_count", 0),
        cost_usd=document.get("cost_usd"),
        error=f"{error['kind']} {error['code']}: {error['message']}" if error else None,
        outputs=tuple(
            OutputView(name=name, format=each["format"], sha256=each["sha256"])
            for name, each in (document.get("outputs") or {}).items()
        ),
    )
