"""How image generation does, for a page that people look at."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from safelight.api.schemas.base import Answer, Usd
from safelight.api.schemas.queries import EveryAccountQuery

MetricsWindow = Literal["24h", "7d"]


class MetricsQuery(EveryAccountQuery):
    window: MetricsWindow = "24h"
    """How far back: 24 hours in steps of one, or seven days in steps of six hours."""


class MetricsOfCalls(Answer):
    """Of the jobs that were created in a time. Images count for the provider that has them now, calls and what they
    cost for the one that was called."""

    completed: int
    failed: int
    refused: int
    canceled: int
    uncertain: int
    cost_usd: Usd
    """What calls have cost, as far as it is known."""
    average_generation_seconds: float | None
    """Of calls that brought a delivered picture, from their sending until it had arrived. Null: there was none."""
    p90_generation_seconds: float | None
    """Nine of ten of them took so long at most."""


class MetricsPoint(MetricsOfCalls):
    at: datetime
    """When the step begins; the last one has not ended."""


class ProviderMetrics(MetricsOfCalls):
    provider: str
    state: Literal["open", "shut", "limited"]
    """Of the worst of its gates, now."""
    success_rate: float | None
    """As in the whole."""
    wasted_usd: Usd
    uncertain_usd: Usd | None


class GenerationMetrics(Answer):
    """What stands still, waits and runs is of now; `webhook_failures` are of 24 hours and `cost_today_usd` of today,
    whatever the window. All else is of the jobs that were created in it."""

    account: str | None
    """Whose. Null: of all."""
    window: MetricsWindow
    since: datetime = Field(alias="from")
    until: datetime = Field(alias="to")
    completed: int
    failed: int
    refused: int
    canceled: int
    uncertain: int
    success_rate: float | None
    """Completed images among completed, failed and uncertain ones, 0 to 1. Null: none has ended so."""
    refusal_rate: float | None
    """Refused images among those that ended and were not canceled."""
    average_generation_seconds: float | None
    p90_generation_seconds: float | None
    active_jobs: int
    """That have not ended."""
    queued_images: int
    active_images: int
    stuck_jobs: int
    """With an image that has stood still for too long, although nothing explains it."""
    paused: bool
    """Nothing is bought."""
    webhook_failures: int
    """Messages that were given up within 24 hours."""
    webhooks_failing: int
    """Endpoints that take nothing now, or no more."""
    cost_today_usd: Usd
    """Of calls that were sent since midnight, UTC."""
    cost_usd: Usd
    wasted_usd: Usd
    """Part of it that brought no delivered picture."""
    uncertain_usd: Usd | None
    """Upper bound of what calls with an unknown outcome or price have cost beyond that. Null: there is none."""
    by_provider: list[ProviderMetrics]
    """Every one that is configured, and those that had images or calls."""
    series: list[MetricsPoint]
    """Oldest first, without a gap."""

    def as_json(self) -> str:
        """With the names that it has on the wire."""
        return self.model_dump_json(by_alias=True)
