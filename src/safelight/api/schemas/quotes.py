"""What a job would cost and how long it may take, told before it is ordered."""

from __future__ import annotations

from typing import Literal

from safelight.api.schemas.base import Answer, Usd
from safelight.api.schemas.queries import NoQuery


class SubmitQuery(NoQuery):
    dry_run: Literal["true", "false"] = "false"
    """`true`: nothing is created, and the answer is a quote. What a submit refuses as wrong is refused here too."""

    @property
    def is_dry_run(self) -> bool:
        return self.dry_run == "true"


class QuotedUsd(Answer):
    """What vendors may bill, by their prices. Null: it depends on a price that nobody knows."""

    low: Usd | None
    """Every picture comes from the first call for it, by the cheapest of its ways."""
    likely: Usd | None
    """Every picture comes by the way that was ordered; calls without one take their usual share of the money, as the
    account's own latest images have it."""
    high: Usd | None
    """Everything goes wrong that may be paid for, the dearest way: as many calls as `max_attempts` and `max_rebuys`
    allow, up to `max_cost_usd`."""


class QuotedSeconds(Answer):
    p50: float
    """As likely sooner as later."""
    p90: float
    """With nine chances out of ten."""


class Quote(Answer):
    estimate_usd: QuotedUsd
    credits_held: int | None = None
    """What a submit would hold, where the account pays in credits."""
    held_usd: Usd | None = None
    """The same where it pays in dollars."""
    balance_after: int | Usd | None
    """What the account would have left: credits, or dollars as a text; below 0 when it has too little. Null: it pays
    nothing in advance."""
    affordable: bool
    """False: a submit would be refused with 402, now; `notes` say why."""
    eta_seconds: QuotedSeconds | None
    """From now until the last picture, with what is ahead in line. Null: nobody can tell."""
    images: int
    notes: list[str]
    """What is worth knowing before it is ordered, for people: why it would be refused, what it would wait for."""
