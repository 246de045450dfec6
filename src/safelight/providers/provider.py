"""What a vendor looks like to the engine.

One file per wire format implements `ImageProvider`. An adapter translates its vendor's answers into the values below
and raises nothing but `ProviderError` (and, while it asks after a remote job, `PollFailed`). It sends one request per
`submit`, never repeats it, and reads no clock: time is the engine's (one total deadline around the call), and so are
retries.

There are two shapes of vendor. One answers the call with the picture. The other answers with a job of its own, which
is then asked after: such an adapter implements `RemoteProvider`, and its `submit` returns a `RemoteHandle`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import UNKNOWN_COST, Cost


class InputRole(StrEnum):
    """What a picture that goes into a request is for."""

    REFERENCE = "reference"
    """To be looked at, or changed."""
    MASK = "mask"
    """Where the first reference may be changed: a PNG of its size, transparent where it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """A picture that goes into a request; `data` is a whole file of type `mime`."""

    role: InputRole
    mime: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One picture, asked of one model. `attempt_key` is ours and unique per call; vendors that can echo it get it.

    `size` is `WIDTHxHEIGHT` in pixels. Inputs are in the order in which the vendor is to see them.
    """

    model: str
    prompt: str
    attempt_key: str
    timeout_seconds: float
    aspect_ratio: str | None = None
    size: str | None = None
    quality: str | None = None
    seed: int | None = None
    negative_prompt: str | None = None
    inputs: tuple[ImageInput, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """The vendor's bytes as they came: not yet known to be an image."""

    data: bytes = field(repr=False)
    claimed_mime: str
    cost: Cost
    usage: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    model_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The vendor's safety policy said no. A result, not a fault; `billed` is yes when usage was charged."""

    code: str
    message: str
    billed: Billed
    cost: Cost
    usage: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteHandle:
    """A job that the vendor has accepted and works on: what it takes to ask after it, from any process, at any time.

    Committed before it is first used. `urls` are the vendor's own, by what they are for; they hold no key.
    """

    remote_id: str
    urls: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"remote_id": self.remote_id, "urls": dict(self.urls)}

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> RemoteHandle:
        return RemoteHandle(remote_id=fields["remote_id"], urls=fields.get("urls", {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class StillRunning:
    """The remote job has not ended. `after_seconds` is when the vendor wants to be asked again, if it says."""

    after_seconds: float | None = None


class RemoteCancellation(StrEnum):
    """What a vendor answers to being asked to stop a remote job."""

    REQUESTED = "requested"
    """It will stop, or has stopped: the next poll tells."""
    TOO_LATE = "too_late"
    """It has ended already: the next poll tells how."""
    UNSUPPORTED = "unsupported"


class ProviderError(Exception):
    """A call that brought neither a picture nor a refusal.

    `billed` is `no` only when that is proven (the request never left, or a 4xx) or the vendor's policy
    (`unbilled_by_policy`: an answer listed in its `unbilled_statuses`); `yes` when the vendor answered with usage
    and no image; else `unknown`. `message` is the vendor's, cut to 500 characters, without keys or prompts.

    `quota_zone` is for a quota of the day that is used up: the time zone (IANA name) at whose midnight it is renewed.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind,
        billed: Billed,
        code: str,
        unbilled_by_policy: bool = False,
        scope: Scope = Scope.REQUEST,
        http_status: int | None = None,
        retry_after_seconds: float | None = None,
        quota_zone: str | None = None,
        request_id: str | None = None,
        cost: Cost = UNKNOWN_COST,
        usage: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message[:500]
        self.kind = kind
        self.billed = billed
        self.code = code
        self.unbilled_by_policy = unbilled_by_policy
        self.scope = scope
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds
        self.quota_zone = quota_zone
        self.request_id = request_id
        self.cost = cost
        self.usage: Mapping[str, Any] = usage or {}


class PollFailed(Exception):
    """Asking after a remote job, or fetching its picture, failed: nothing is known of the job itself, so ask again.

    `scope` ACCOUNT: no request of this account would have been answered (its key was revoked, say).
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind,
        code: str,
        scope: Scope = Scope.REQUEST,
        http_status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message[:500]
        self.kind = kind
        self.code = code
        self.scope = scope
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRule:
    """Sizes that a model takes freely: both sides multiples of `step_px`, within the most, no longer than `max_ratio`
    times the other, and between `min_pixels` and `max_pixels` in all."""

    step_px: int
    max_width_px: int
    max_height_px: int
    max_ratio: float
    min_pixels: int = 0
    max_pixels: int | None = None

    def allows(self, width_px: int, height_px: int) -> bool:
        longer, shorter = max(width_px, height_px), min(width_px, height_px)
        return (
            shorter > 0
            and width_px % self.step_px == height_px % self.step_px == 0
            and width_px <= self.max_width_px
            and height_px <= self.max_height_px
            and longer <= self.max_ratio * shorter
            and width_px * height_px >= self.min_pixels
            and (self.max_pixels is None or width_px * height_px <= self.max_pixels)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a model can be asked for. An option outside of it is refused before submit, never dropped.

    `aspect_ratios`, `sizes` and `qualities` None mean that the model takes none; `size_rule` allows sizes beyond the
    listed ones. `timeout_seconds` is the attempt's total when the caller names none. `prompt_max_chars` is in code
    points. `retired_on` is an ISO date.
    """

    aspect_ratios: frozenset[str] | None
    sizes: frozenset[str] | None
    seed: bool
    negative_prompt: bool
    timeout_seconds: float
    size_rule: SizeRule | None = None
    qualities: frozenset[str] | None = None
    max_references: int = 0
    mask: bool = False
    remote_job: bool = False
    prompt_max_chars: int = 32_000
    retired_on: str | None = None

    def takes_size(self, size: str) -> bool:
        """Whether `WIDTHxHEIGHT` can be asked for."""
        if size in (self.sizes or ()):
            return True
        match = _SIZE.fullmatch(size)
        return bool(match and self.size_rule and self.size_rule.allows(int(match[1]), int(match[2])))


_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)


class UnknownModel(LookupError):
    """The provider's model data does not list this id."""


class ImageProvider(Protocol):
    """A configured account at a vendor."""

    def models(self) -> Sequence[str]:
        """Every model that its data lists, in that order, the retired ones too. What is not listed may still work."""
        return ()

    def capabilities(self, model: str) -> Capabilities:
        """Raises UnknownModel."""
        ...

    def estimate(self, request: ImageRequest) -> Cost:
        """The likely price of the call before it is made; an upper bound where the vendor's price varies."""
        ...

    async def prepare(self) -> None:
        """What takes time before the first call, and none before later ones: loading the vendor's library, say. Asked
        for before a call's deadline begins."""

    async def submit(self, request: ImageRequest) -> ImageResult | Refusal | RemoteHandle:
        """Sends exactly one billable request. Raises ProviderError, and CallNotSent from `net` when nothing left."""
        ...

    async def aclose(self) -> None: ...


@runtime_checkable
class RemoteProvider(ImageProvider, Protocol):
    """An account at a vendor whose calls are jobs: accepted at once, asked after until they end.

    Neither method costs anything, and both may be called by a process that did not submit.
    """

    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        """How the job stands; its picture is fetched when it has one.

        Raises ProviderError when the job ended without a picture, or with one that can never be had, and PollFailed
        when that cannot be told now.
        """
        ...

    async def cancel(self, handle: RemoteHandle) -> RemoteCancellation:
        """Asks the vendor to stop the job. Raises PollFailed."""
        ...
