"""What goes over the wire. Requests are read strictly: no coercion, no unknown field.

A field of an answer that has nothing to say is absent where it is optional here, and null where null means
something: not known, or not yet.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from safelight.domain.ids import IMAGE_ID_PATTERN
from safelight.domain.recipe import MAX_PROMPT_CODE_POINTS
from safelight.imaging.rendition import MAX_SIDE_PX

MAX_IMAGES = 500
MAX_SEED = 2**63 - 1
MAX_METADATA_ENTRIES = 16
MAX_METADATA_CHARS = 512

_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {chr(c) for c in range(0xFE00, 0xFE10)}
"""Characters that show nothing though Unicode files them under letters, marks and symbols."""

_FIRST_MOMENT, _LAST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _prompt(text: str) -> str:
    if len(text) > MAX_PROMPT_CODE_POINTS:
        raise PydanticCustomError(
            "prompt-too-long", "A prompt has at most {most} characters.", {"most": MAX_PROMPT_CODE_POINTS}
        )
    if all(c.isspace() or c in _INVISIBLE or unicodedata.category(c) in ("Cf", "Cc") for c in text):
        raise PydanticCustomError("blank_prompt", "A prompt says something.")
    return text


def _moment(value: datetime) -> datetime:
    if not _FIRST_MOMENT <= value <= _LAST_MOMENT:
        raise PydanticCustomError("moment_range", "Must be a time from 1970 to 9998.")
    return value


def _metadata_key(key: str) -> str:
    if key == "__proto__":
        raise PydanticCustomError("forbidden_key", "This key is not allowed.")
    return key


Prompt = Annotated[
    str,
    AfterValidator(_prompt),
    Field(json_schema_extra={"minLength": 1, "maxLength": MAX_PROMPT_CODE_POINTS}),
]
ImageId = Annotated[str, Field(pattern=rf"^(?:{IMAGE_ID_PATTERN})$", examples=["evidence-3"])]
Group = Annotated[str, Field(pattern=rf"^(?:{IMAGE_ID_PATTERN})?$", examples=["evidence"])]
Label = Annotated[str, Field(min_length=1, max_length=200)]
SidePx = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_metadata_key)]
Usd = Annotated[str, Field(pattern=r"^-?[0-9]+\.[0-9]{3,6}$", examples=["0.039"])]
"""An exact decimal number of US dollars."""

JobState = Literal["pending", "generating", "canceling", "completed", "partial", "failed", "canceled"]
ImageState = Literal[
    "queued",
    "processing",
    "generating",
    "uploading",
    "completed",
    "failed",
    "refused",
    "canceled",
    "uncertain",
]
RetryableState = Literal["failed", "refused", "uncertain", "canceled"]


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Options(_Request):
    """How an image is made. An image's own word counts more than `defaults`, and those more than the
    recipe."""

    provider: Label | None = None
    model: Label | None = None
    """Null: the one that is configured for the provider."""
    fallback: list[Label] | None = Field(default=None, max_length=4, examples=[["openai", "gemini/gemini-3-pro-image"]])
    """Whom to ask when the provider cannot, in order: `provider`, with the model that is configured for it, or
    `provider/model`. Each has to take every option of the image."""
    aspect_ratio: Label | None = Field(default=None, examples=["1:1"])
    size: Label | None = Field(default=None, examples=["1024x1024"])
    """Instead of an aspect ratio, where the model has sizes."""
    quality: Label | None = Field(default=None, examples=["high"])
    """In the model's own words, where it has any."""
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    negative_prompt: Prompt | None = None
    timeout_seconds: float | None = Field(default=None, ge=1, le=3600)
    """Of one attempt, in total. Null: from the model's data."""
    max_attempts: int | None = Field(default=None, ge=1, le=10)
    """Paid calls that bring no picture, per run; 3 when null."""
    max_rebuys: int | None = Field(default=None, ge=0, le=10)
    """Calls after one whose outcome is unknown, per run; 1 when null."""
    on_uncertain: Literal["hold", "fail", "retry_once"] | None = None
    """`retry_once` when null."""
    on_refusal: Literal["stop", "next_provider", "alternate_prompt"] | None = None
    """What follows a vendor's refusal: nothing (when null), the next of `fallback`, or once more with
    `alternate_prompt`."""


class NewImage(Options):
    id: ImageId
    group: Group = ""
    prompt: Prompt
    alternate_prompt: Prompt | None = None
    """Asked with when the vendor refuses `prompt` and `on_refusal` is `alternate_prompt`."""
    count: int = Field(default=1, ge=1, le=10)
    """More than one makes images of their own, `{id}-1` to `{id}-{count}`."""


class NewOutput(_Request):
    """What is kept of every picture: a rendition, in sRGB and without metadata; or the vendor's own file."""

    name: ImageId
    width: SidePx | None = None
    """Of the box in pixels. Required, except for `original`, which has neither width nor height."""
    height: SidePx | None = None
    fit: Literal["cover", "contain", "inside"] = "cover"
    """`cover` fills the box and cuts what stands over, half on either side. `contain` shows all of the picture
    in the middle of the box; the rest is transparent, or white in a JPEG. `inside` shows all of it and is no
    larger than the box, nor than the picture."""
    format: Literal["jpeg", "webp", "png", "avif", "original"] = "jpeg"
    """`original` keeps the file byte for byte, with the metadata that its vendor put into it."""
    quality: int | None = Field(default=None, ge=1, le=100)
    """On the format's own scale. Null: 80 for JPEG and WebP, 50 for AVIF. PNG is lossless and has none."""


CARD = NewOutput(name="card", width=512, height=512)


class NewJob(_Request):
    """A recipe with subjects, or images, or both; the order given is the order of importance and of work."""

    recipe: Label | None = None
    subjects: dict[str, list[dict[str, Any]]] = Field(default={}, max_length=100)
    """By the recipe's groups. Each subject has an `id`, which becomes its image's."""
    images: list[NewImage] = Field(default=[], max_length=MAX_IMAGES)
    defaults: Options = Options()
    outputs: list[NewOutput] = Field(default=[CARD], max_length=8)
    """None at all, `[]`: every picture is made, checked and paid for, and not kept."""
    storage_prefix: str | None = Field(default=None, examples=["project_1/branch_2/scene_3"])
    deadline_seconds: float = Field(default=3600.0, ge=1, le=86_400)
    on_deadline: Literal["fail", "continue"] = "continue"
    metadata: dict[MetadataKey, Annotated[str, Field(max_length=MAX_METADATA_CHARS)]] = Field(
        default={}, max_length=MAX_METADATA_ENTRIES
    )


class NewCancellation(_Request):
    mode: Literal["finish", "abort"] = "finish"
    """What happens to a call that was sent: it may end, and its picture is kept; or its socket is closed."""
    images: list[ImageId] | None = Field(default=None, min_length=1, max_length=MAX_IMAGES)
    """Null: all."""


class NewRetry(_Request):
    only: list[RetryableState] | None = Field(default=None, min_length=1, max_length=4)
    images: list[ImageId] | None = Field(default=None, min_length=1, max_length=MAX_IMAGES)
    prompt_overrides: dict[ImageId, Prompt] = Field(default={}, max_length=MAX_IMAGES)


class NoQuery(BaseModel):
    """The query of a call that takes none."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class JobQuery(NoQuery):
    inline: str | None = Field(default=None, pattern=rf"^(?:{IMAGE_ID_PATTERN})$")
    """The name of an output whose pictures come as `data:` URLs, as far as they fit into 32 MB."""
    wait: int = Field(default=0, ge=0, le=60)
    """Answer when the job has ended, or after so many seconds as it stands then."""
    after: int | None = Field(default=None, ge=0, le=MAX_SEED)
    """With `wait`: answer already when the job's `seq` is greater than this."""


class HistoryQuery(BaseModel):
    """`metadata.{key}` parameters come beside these, which is why others are let through here."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    status: JobState | None = None
    created_after: Annotated[AwareDatetime, AfterValidator(_moment)] | None = None
    """With its offset from UTC; a `+` is sent as `%2B`."""
    group: Group | None = None
    """Jobs with at least one image in this group."""
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=200)
    """`next_cursor` of the page before, with the same filters."""


class EventsQuery(NoQuery):
    after: int = Field(default=0, ge=0, le=MAX_SEED)
    limit: int = Field(default=100, ge=1, le=1000)


class Counts(_Answer):
    total: int
    queued: int
    active: int
    completed: int
    failed: int
    refused: int
    canceled: int
    uncertain: int


class JobCost(_Answer):
    """Null: an amount is part of it that nobody knows."""

    estimate_usd: Usd | None
    actual_usd: Usd
    wasted_usd: Usd
    """Part of the actual cost that brought no delivered picture."""
    uncertain_usd: Usd | None
    """Upper bound of what calls with an unknown outcome or price have cost beyond that."""


class ImageError(_Answer):
    kind: str
    code: str
    message: str
    retryable: bool
    billed: Literal["yes", "no", "unknown"]


class Output(_Answer):
    url: str
    width: int
    height: int
    bytes: int
    format: Literal["jpeg", "webp", "png", "avif"]
    """What the bytes are, also of an original."""
    sha256: str


class Image(_Answer):
    id: str
    group: str
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


class JobUrls(_Answer):
    self: str
    cancel: str
    retry: str


class JobSummary(_Answer):
    """A job without its images."""

    id: str
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
    deadline_at: datetime
    deadline_passed: bool
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    urls: JobUrls


class Job(JobSummary):
    images: list[Image]


class JobPage(_Answer):
    jobs: list[JobSummary]
    next_cursor: str | None
    """Null on the last page."""


class Event(_Answer):
    type: str
    timestamp: datetime
    data: dict[str, Any]
    """`job_id` and `seq`, `image_id` where it concerns one, and what the type adds."""


class EventPage(_Answer):
    events: list[Event]
    next_after: int
    """`after` of the next page; the same again when nothing has happened since."""


class Health(_Answer):
    status: Literal["ok"]


class ProblemError(_Answer):
    pointer: str | None = None
    parameter: str | None = None
    detail: str
    type: str


class Problem(_Answer):
    """RFC 9457, as `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[ProblemError]
    retryable: bool
    retry_after: int | None


class Queue(BaseModel):
    """The backlog of the installation. While it is paused nothing is bought; what is bought already is finished."""

    queued: int
    active: int
    paused: bool
    paused_since: datetime | None = None
    pause_reason: str | None = None


class SizeRule(_Answer):
    """Sizes beyond the listed ones: both sides multiples of `step_px`, within the most, the longer at most `max_ratio`
    times the shorter, and `min_pixels` to `max_pixels` in all. Null: no bound."""

    step_px: int
    max_width_px: int
    max_height_px: int
    max_ratio: float
    min_pixels: int
    max_pixels: int | None


class ProviderModel(_Answer):
    """What a model can be asked for. A null list: it takes none of these."""

    id: str
    retired_on: date | None
    """The day on which its vendor switched it off. It cannot be asked for any more."""
    estimate_usd: Usd | None
    """Of one picture without options, at most. Null: not known, or retired."""
    aspect_ratios: list[str] | None
    sizes: list[str] | None
    size_rule: SizeRule | None
    qualities: list[str] | None
    seed: bool
    negative_prompt: bool
    max_references: int
    mask: bool
    remote_job: bool
    """The vendor works on jobs of its own: a call that was begun is followed, never begun again."""
    prompt_max_chars: int
    timeout_seconds: float
    """Of one call, when the request names none."""


class ProviderGate(_Answer):
    """What stands between this service and a vendor just now."""

    model: str | None
    """Null: the gate of the whole account."""
    state: Literal["open", "shut", "limited"]
    """`shut`: nothing is bought but probes. `limited`: the vendor asked for a pause. `open`: it has failed of late."""
    code: str | None
    """The vendor's, of the latest failure that counted."""
    message: str | None
    failures: int
    """In a row."""
    since: datetime | None
    """When it was shut."""
    probe_at: datetime | None
    """When the next image may try."""
    probing: bool
    """One is trying now."""
    limited_until: datetime | None


class Provider(_Answer):
    name: str
    """What requests call it."""
    kind: str
    default_model: str | None
    """Taken when a request names none."""
    max_concurrency: int
    requests_per_minute: int | None
    models: list[ProviderModel]
    gates: list[ProviderGate]
    """Those that have something to say; every other one is open."""


class Providers(_Answer):
    default: str | None
    """The provider of requests that name none."""
    providers: list[Provider]
