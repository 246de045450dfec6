"""What a caller orders: a job's images as plain values, complete and checked, ready to be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal

from safelight.domain.attempts import RetryBudget
from safelight.domain.fallback import OnRefusal, Target
from safelight.domain.fingerprint import fingerprint
from safelight.domain.style import AppliedStyle


class Priority(IntEnum):
    """How urgent a job is to its account: what is due of a smaller number goes before anything of a greater one."""

    HIGH = 0
    NORMAL = 1
    LOW = 2

    @property
    def word(self) -> PriorityWord:
        return _WORDS[self]


PriorityWord = Literal["high", "normal", "low"]
_WORDS: Mapping[Priority, PriorityWord] = {Priority.HIGH: "high", Priority.NORMAL: "normal", Priority.LOW: "low"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A picture that goes into the request: that of another image of the same job, an upload, or what an address gives.
    Exactly one of the three. `role` is the caller's own word for it."""

    image_id: str | None = None
    upload_id: str | None = None
    url: str | None = None
    role: str | None = None

    @property
    def identity(self) -> str:
        return identity_of(image_id=self.image_id, upload_id=self.upload_id, url=self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOrder:
    """One image to generate. `options` are the model's own: aspect_ratio, size, quality, seed, negative_prompt.

    `fallbacks` are the providers to ask after this one, in order. It is not begun before every image that it references
    has its picture; they lead in no circle. `mask` is the upload that says where the first reference may be changed.
    """

    id: str
    group: str
    provider: str
    model: str
    prompt: str
    options: Mapping[str, Any]
    timeout_seconds: float
    budget: RetryBudget
    estimate_microusd: int | None
    fallbacks: tuple[Target, ...] = ()
    on_refusal: OnRefusal = OnRefusal.STOP
    alternate_prompt: str | None = None
    references: tuple[Reference, ...] = ()
    mask: str | None = None
    style: AppliedStyle | None = None
    """What stands around the caller's words in both prompts."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every way to the image, the ordered one first."""
        first = Target(
            provider=self.provider,
            model=self.model,
            options=self.options,
            timeout_seconds=self.timeout_seconds,
            estimate_microusd=self.estimate_microusd,
        )
        return first, *self.fallbacks

    @property
    def fingerprint(self) -> str:
        inputs = [reference.identity for reference in self.references]
        if self.mask is not None:
            inputs.append(identity_of(upload_id=self.mask, is_mask=True))
        return request_fingerprint(self.provider, self.model, self.prompt, self.options, inputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOrder:
    """Where one job's events are posted to; `events` are the types wanted, None all of them."""

    url: str
    events: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """One submission. Images are in the order of importance; `outputs` name the renditions of every image.

    `body_fingerprint` is that of the request as the caller sent it: the same key with another body is a mistake.
    Nothing is begun before `not_before`, which has a time zone, and deadlines count from then.
    """

    account: str
    idempotency_key: str | None
    body_fingerprint: str
    images: tuple[ImageOrder, ...]
    outputs: tuple[Mapping[str, Any], ...]
    storage_prefix: str | None
    metadata: Mapping[str, str]
    deadline_seconds: float
    on_deadline: str
    webhook: WebhookOrder | None = None
    priority: Priority = Priority.NORMAL
    not_before: datetime | None = None
    visibility: Literal["private", "link"] = "private"
    """Whether its pictures have links that last."""
    max_cost_microusd: int | None = None
    """What its calls may cost, in all its runs."""


def request_fingerprint(
    provider: str, model: str, prompt: str, options: Mapping[str, Any], inputs: Sequence[str] = ()
) -> str:
    """Two requests for one image with the same fingerprint ask the vendor for the same picture.

    `inputs` are the identities of the pictures that go into it, in order.
    """
    request = {"provider": provider, "model": model, "prompt": prompt, "options": dict(options)}
    return fingerprint(request | {"references": list(inputs)} if inputs else request)


def identity_of(
    *, image_id: str | None = None, upload_id: str | None = None, url: str | None = None, is_mask: bool = False
) -> str:
    """What stands for a picture: an image of a job gets one and keeps it, an upload never changes, and an address is
    asked once. An id of an image has no colon."""
    if image_id is not None:
        return image_id
    if url is not None:
        return f"url:{url}"
    return f"mask:{upload_id}" if is_mask else f"upload:{upload_id}"
