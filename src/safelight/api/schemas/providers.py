"""Providers, their models and what stands between us and them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from safelight.api.schemas.base import Answer, Usd


class SizeRule(Answer):
    """Sizes beyond the listed ones: both sides multiples of `step_px`, within the most, the longer at most `max_ratio`
    times the shorter, and `min_pixels` to `max_pixels` in all. Null: no bound."""

    step_px: int
    max_width_px: int
    max_height_px: int
    max_ratio: float
    min_pixels: int
    max_pixels: int | None


class ProviderModel(Answer):
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


class ProviderGate(Answer):
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


class ProviderHealth(Answer):
    """Of its latest 1000 calls. A refusal is an answer: it counts neither way."""

    last_success_at: datetime | None
    """When a call last brought a picture. Null: none of these."""
    last_failure_at: datetime | None
    calls_last_hour: int
    """That were sent in the last hour and have ended well or badly."""
    success_rate: float | None
    """Of those, from 0 to 1. Null: there were none."""
    median_seconds: float | None
    """That a call of the last hour took to bring a picture."""


class Provider(Answer):
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
    health: ProviderHealth


class Providers(Answer):
    default: str | None
    """The provider of requests that name none."""
    providers: list[Provider]
