"""Other ways to an image: the next provider of its chain, or another prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class OnRefusal(StrEnum):
    """What follows when a vendor's safety policy says no."""

    STOP = "stop"
    """The image ends as `refused`."""
    NEXT_PROVIDER = "next_provider"
    """The next provider of the chain is asked the same."""
    ALTERNATE_PROMPT = "alternate_prompt"
    """The same provider is asked once more, with the prompt given for this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One provider's way to make an image; `options` are the model's own."""

    provider: str
    model: str
    options: Mapping[str, Any]
    timeout_seconds: float
    estimate_microusd: int | None

    def as_json(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "model": self.model,
            "options": dict(self.options),
            "timeout_seconds": self.timeout_seconds,
            "estimate_microusd": self.estimate_microusd,
        }


class Way(StrEnum):
    NEXT_PROVIDER = "next_provider"
    ALTERNATE_PROMPT = "alternate_prompt"


def way_after_refusal(policy: OnRefusal, *, has_next: bool, has_alternate: bool) -> Way | None:
    """None: the refusal stands. `has_alternate`: there is another prompt, and it has not been used."""
    if policy is OnRefusal.NEXT_PROVIDER and has_next:
        return Way.NEXT_PROVIDER
    if policy is OnRefusal.ALTERNATE_PROMPT and has_alternate:
        return Way.ALTERNATE_PROMPT
    return None
