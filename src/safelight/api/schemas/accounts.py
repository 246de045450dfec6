"""Accounts: their balances, budgets and entries, as answers show them and as an admin changes them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from safelight.api.schemas.base import Answer, Request, Usd, UsdAmount
from safelight.api.schemas.queries import NoQuery

BillingWord = Literal["none", "credits", "usd"]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Balance(Answer):
    """In credits or in dollars, as the account is billed: the other fields are absent."""

    credits_available: int | None = None
    credits_held: int | None = None
    """For images that are not made yet, or whose outcome is not known."""
    credits_captured: int | None = None
    """For pictures that were delivered, ever."""
    available_usd: Usd | None = None
    held_usd: Usd | None = None
    captured_usd: Usd | None = None


class Budget(Answer):
    """What calls to vendors may cost for the account on a day."""

    daily_usd: Usd
    day: date
    """Today, in UTC."""
    held_usd: Usd
    """By estimate, for calls that are open and images that wait."""
    spent_usd: Usd
    overage_usd: Usd
    """Part of it: what calls have cost beyond their estimates."""
    left_usd: Usd


class Account(Answer):
    id: str
    billing: BillingWord
    balance: Balance | None
    """Null: it pays nothing in advance."""
    budget: Budget | None
    """Null: it has none."""
    weight: int
    """Its share of what runs, beside those of others who wait."""
    max_concurrency: int | None
    """Its images that are being made at once; null: no limit of its own."""
    max_queued: int | None
    """Its images that may wait; null: no limit of its own."""
    created_at: datetime


class AccountPage(Answer):
    accounts: list[Account]
    next_cursor: str | None
    """Null on the last page."""


class LedgerEntry(Answer):
    """One transfer between two books of the account, with what was in two of them after it. Amounts are in credits or
    in dollars; the other fields are absent."""

    id: int
    at: datetime
    kind: Literal["top_up", "adjustment", "hold", "capture", "release"]
    debit: Literal["outside", "available", "held"]
    """The book that the amount left."""
    credit: Literal["outside", "available", "held", "captured"]
    """The book that it arrived in."""
    credits: int | None = None
    credits_available: int | None = None
    credits_held: int | None = None
    amount_usd: Usd | None = None
    available_usd: Usd | None = None
    held_usd: Usd | None = None
    reason: str | None
    job: str | None
    """Whose picture it was for, with `image` and `run`."""
    image: str | None
    run: int | None


class LedgerPage(Answer):
    entries: list[LedgerEntry]
    next_cursor: str | None
    """Null on the last page."""


class NewCredit(Request):
    """In `credits` or in `usd`, as the account is billed."""

    kind: Literal["top_up", "adjustment"] = "top_up"
    """A top-up is paid in; an adjustment, such as a refund, says its `reason`, and may take back."""
    credits: int | None = Field(default=None, ge=-1_000_000_000, le=1_000_000_000, examples=[100])
    usd: Annotated[str, Field(pattern=r"^-?[0-9]{1,9}(\.[0-9]{1,6})?$", examples=["25.00"])] | None = None
    reason: Reason | None = None


class NewBudget(Request):
    daily_usd: UsdAmount | None
    """What calls may cost on a day (UTC), from now on; null: as much as they do."""


class AccountChange(Request):
    """What is left out stays as it is."""

    billing: BillingWord = "none"
    """For jobs from now on; those that were accepted keep their holds."""
    weight: int = Field(default=1, ge=1, le=100)
    max_concurrency: int | None = Field(default=None, ge=1, le=1_000_000)
    """Null: no limit of its own."""
    max_queued: int | None = Field(default=None, ge=0, le=1_000_000_000)
    """Null: no limit of its own."""


class AccountsQuery(NoQuery):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=200)


class LedgerQuery(AccountsQuery):
    job: str | None = Field(default=None, pattern=r"^job_[0-9A-HJKMNP-TV-Z]{26}$")
    """Only what was entered for this job's pictures."""
