"""What a vendor's failure says about the vendor, and so about every other call to it.

A gate stands before each provider and model, and one before each account: open when calls may pass, shut when not.
(Elsewhere this is called a circuit breaker.) The rule here reads one failure and answers with one of four effects;
`engine/gates.py` keeps the count in the database, where all workers share it.
"""

from __future__ import annotations

from dataclasses import dataclass

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.retry import clamp_retry_after

BURST = 5
"""Failures in a row that shut a gate. Chosen."""

ACCOUNT = ""
"""Stands for the model where a gate is the whole account's."""


@dataclass(frozen=True, slots=True)
class Works:
    """The vendor did its part: what failed concerns this request alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsAgainst:
    """The vendor did not do its part. `BURST` of these in a row shut the gate."""

    of_account: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """No call can succeed until something changes at the vendor's: the gate shuts at once.

    `quota_zone` names the time zone at whose midnight a quota of the day is renewed; None: nobody can say when.
    """

    of_account: bool
    quota_zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsRate:
    """No call for so many seconds; None when the vendor does not say how many."""

    of_account: bool
    seconds: float | None


Effect = Works | CountsAgainst | Bars | LimitsRate


def what_a_failure_does(
    *,
    kind: ErrorKind,
    scope: Scope,
    billed: Billed,
    retry_after_seconds: float | None = None,
    quota_zone: str | None = None,
) -> Effect:
    """The effect of one vendor's failure on the gates.

    Scope wins over kind: what concerns the account is no fault of the request. An answer that was charged shows a
    vendor that works, whatever it lacked; else one caller's odd prompts would pause everybody's pictures.
    """
    of_account = scope is Scope.ACCOUNT
    match kind:
        case ErrorKind.RATE_LIMIT if quota_zone is not None:
            return Bars(of_account=of_account, quota_zone=quota_zone)
        case ErrorKind.RATE_LIMIT:
            seconds = clamp_retry_after(retry_after_seconds) if retry_after_seconds is not None else None
            return LimitsRate(of_account=of_account, seconds=seconds)
        case ErrorKind.AUTH_ERROR | ErrorKind.PERMANENT if of_account:
            return Bars(of_account=True)
        case ErrorKind.TEMPORARY | ErrorKind.TIMEOUT if billed is not Billed.YES:
            return CountsAgainst(of_account=of_account)
        case _:
            return Works()
