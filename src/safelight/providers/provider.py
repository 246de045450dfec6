"""What a vendor looks like to the engine.

One file per wire format implements `ImageProvider`. An adapter translates its vendor's answers into the values below
and raises nothing but `ProviderError`. It sends one request per `submit`, never repeats it, and reads no clock: time is
the engine's (one total deadline around the call), and so are retries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import UNKNOWN_COST, Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """One picture, asked of one model. `attempt_key` is ours and unique per call; vendors that can echo it get it."""

    model: str
    prompt: str
    attempt_key: str
    timeout_seconds: float
    aspect_ratio: str | None = None
    size: str | None = None
    seed: int | None = None
    negative_prompt: str | None = None


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


class ProviderError(Exception):
    """A call that brought neither a picture nor a refusal.

    `billed` is `no` only when that is proven (the request never left, or a 4xx) or the vendor's policy
    (`unbilled_by_policy`: an answer listed in its `unbilled_statuses`); `yes` when the vendor answered with usage
    and no image; else `unknown`. `message` is the vendor's, cut to 500 characters, without keys or prompts.
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
        self.request_id = request_id
        self.cost = cost
        self.usage: Mapping[str, Any] = usage or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a model can be asked for. An option outside of it is refused before submit, never dropped.

    `aspect_ratios` None means that the model takes none. `timeout_seconds` is the attempt's total when the caller
    names none. `prompt_max_chars` is in code points.
    """

    aspect_ratios: frozenset[str] | None
    sizes: frozenset[str] | None
    seed: bool
    negative_prompt: bool
    timeout_seconds: float
    prompt_max_chars: int = 32_000
    retired_on: str | None = None


class UnknownModel(LookupError):
    """The provider's model data does not list this id."""


class ImageProvider(Protocol):
    """A configured account at a vendor."""

    def capabilities(self, model: str) -> Capabilities:
        """Raises UnknownModel."""
        ...

    def estimate(self, request: ImageRequest) -> Cost:
        """The likely price of the call before it is made; an upper bound where the vendor's price varies."""
        ...

    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        """Sends exactly one billable request. Raises ProviderError, and CallNotSent from `net` when nothing left."""
        ...

    async def aclose(self) -> None: ...
