"""What a caller orders: a job's images as plain values, complete and checked, ready to be stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safelight.domain.attempts import RetryBudget
from safelight.domain.fallback import OnRefusal, Target
from safelight.domain.fingerprint import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOrder:
    """One image to generate. `options` are the model's own: aspect_ratio, size, quality, seed, negative_prompt.

    `fallbacks` are the providers to ask after this one, in order.
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
        return request_fingerprint(self.provider, self.model, self.prompt, self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrder:
    """One submission. Images are in the order of importance; `outputs` name the renditions of every image.

    `body_fingerprint` is that of the request as the caller sent it: the same key with another body is a mistake.
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


def request_fingerprint(provider: str, model: str, prompt: str, options: Mapping[str, Any]) -> str:
    """Two images with the same fingerprint ask the vendor for the same picture."""
    return fingerprint({"provider": provider, "model": model, "prompt": prompt, "options": dict(options)})
