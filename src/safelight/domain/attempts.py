"""The re-send rule: when a call that costs money may be made again for the same image.

Every attempt is a row committed before its request leaves, so after any crash the rows say what may have been bought.
`next_step` reads them and answers with one of five steps; nothing else in Safelight decides to buy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from safelight.domain.errors import ErrorKind

UNBILLED_BY_POLICY_LIMIT = 20
"""Answers per run that the vendor's policy calls unbilled (500, 502, 503) before the image fails. Chosen."""


UNEXPLAINED_RETRIES = 1
"""How often per run an answer that nobody can explain is followed by another try. Chosen."""


class AttemptStatus(StrEnum):
    SENT = "sent"
    """Committed, and then perhaps sent: it may still answer until `resolve_at`."""
    SUBMITTED = "submitted"
    """The vendor works on it as a job of its own, whose handle is kept: it is asked after, and never bought again."""
    RECEIVED = "received"
    """Its bytes are staged durably; never bought again."""
    SETTLED = "settled"
    """Its bytes became the image."""
    UNBILLED = "unbilled"
    """Proven, or by the vendor's policy, not charged."""
    NO_IMAGE = "no_image"
    """Charged, and what came back is no picture."""
    REFUSED = "refused"
    """The vendor's safety policy said no."""
    UNKNOWN = "unknown"
    """Nobody knows whether it was charged; booked as uncertain."""


OPEN_ATTEMPT_STATUSES = frozenset({AttemptStatus.SENT, AttemptStatus.SUBMITTED})
"""An image has at most one attempt in one of them."""


class OnUncertain(StrEnum):
    """What to do about a call whose outcome is lost."""

    HOLD = "hold"
    """End the image as `uncertain`."""
    FAIL = "fail"
    """End the image as `failed`."""
    RETRY_ONCE = "retry_once"
    """Buy again, at most `max_rebuys` times per run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFact:
    """What the rule needs to know of one earlier attempt. `run` counts the user's retries from 1; `is_charged` is
    whether a call that brought no picture cost anything."""

    id: str
    run: int
    provider: str
    model: str
    status: AttemptStatus
    fingerprint: str
    unbilled_by_policy: bool
    error_kind: ErrorKind | None
    resolve_at: datetime
    is_charged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """How often the caller lets one run of an image pay. `max_attempts` bounds calls billed without an image."""

    max_attempts: int
    max_rebuys: int
    on_uncertain: OnUncertain


@dataclass(frozen=True, slots=True)
class Buy:
    """A billable call may start."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """An earlier attempt's bytes are staged: use them, buy nothing."""

    attempt_id: str


@dataclass(frozen=True, slots=True)
class Poll:
    """An earlier call became a job of the vendor's, which has not ended as far as we know: ask after it."""

    attempt_id: str


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """An earlier call may still answer until then."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The run's budget is spent. `uncertain` says that the last word is an unknown outcome; `at_provider` that it is
    spent at this provider's model only."""

    kind: ErrorKind
    code: str
    message: str
    uncertain: bool = False
    at_provider: bool = False


NextStep = Buy | Adopt | Poll | WaitUntil | GiveUp


def next_step(
    attempts: Sequence[AttemptFact],
    *,
    run: int,
    provider: str,
    model: str,
    fingerprint: str,
    budget: RetryBudget,
    now: datetime,
) -> NextStep:
    """What an image may do next, given all its attempts so far.

    Bytes of the same request count across runs, and so does a call that may still answer; budgets count per run, and
    patience with a failing vendor per run, `provider` and `model`.
    A `sent` attempt past its `resolve_at` must have been booked as `unknown` before this is asked.
    """
    for attempt in attempts:
        if attempt.status is AttemptStatus.RECEIVED and attempt.fingerprint == fingerprint:
            return Adopt(attempt.id)
    for attempt in attempts:
        if attempt.status is AttemptStatus.SUBMITTED:
            return Poll(attempt.id)
    still_open = [a.resolve_at for a in attempts if a.status is AttemptStatus.SENT and a.resolve_at > now]
    if still_open:
        return WaitUntil(max(still_open))
    mine = [a for a in attempts if a.run == run]
    here = [a for a in mine if (a.provider, a.model) == (provider, model)]
    spent = _unknown_spent(mine, budget) or _paid_spent(mine, budget) or _policy_spent(here) or _unexplained(here)
    return spent or Buy()


def _unknown_spent(mine: Sequence[AttemptFact], budget: RetryBudget) -> GiveUp | None:
    unknown = sum(a.status in (AttemptStatus.UNKNOWN, AttemptStatus.SENT) for a in mine)
    allowed = budget.max_rebuys if budget.on_uncertain is OnUncertain.RETRY_ONCE else 0
    if unknown <= allowed:
        return None
    return GiveUp(
        ErrorKind.UNKNOWN,
        "OUTCOME_UNKNOWN",
        f"The outcome of {unknown} call(s) is unknown and may be billed; no further call is allowed.",
        uncertain=budget.on_uncertain is not OnUncertain.FAIL,
    )


def _paid_spent(mine: Sequence[AttemptFact], budget: RetryBudget) -> GiveUp | None:
    refused = [a for a in mine if a.status is AttemptStatus.REFUSED and a.is_charged]
    paid = [a for a in mine if a.status is AttemptStatus.NO_IMAGE] + refused
    if len(paid) < budget.max_attempts:
        return None
    return GiveUp(
        paid[-1].error_kind or ErrorKind.INVALID_OUTPUT,
        "NO_IMAGE",
        f"{len(paid)} paid call(s) brought no picture; `max_attempts` is {budget.max_attempts}.",
    )


def _policy_spent(mine: Sequence[AttemptFact]) -> GiveUp | None:
    answers = sum(a.status is AttemptStatus.UNBILLED and a.unbilled_by_policy for a in mine)
    if answers < UNBILLED_BY_POLICY_LIMIT:
        return None
    said = f"The vendor answered with a server error {answers} times."
    return GiveUp(ErrorKind.TEMPORARY, "VENDOR_FAILING", said, at_provider=True)


def _unexplained(mine: Sequence[AttemptFact]) -> GiveUp | None:
    answered = (AttemptStatus.UNBILLED, AttemptStatus.NO_IMAGE)
    answers = sum(a.status in answered and a.error_kind is ErrorKind.UNKNOWN for a in mine)
    if answers <= UNEXPLAINED_RETRIES:
        return None
    said = "The vendor answered twice in a way that nobody can explain."
    return GiveUp(ErrorKind.UNKNOWN, "UNEXPLAINED", said, at_provider=True)
