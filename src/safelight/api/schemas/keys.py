"""API keys: what an admin sends about them, and is shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from safelight.api.schemas.base import AccountId, Answer, Label, Request, moment, written
from safelight.api.schemas.queries import AccountQuery
from safelight.domain.access import DEFAULT_ACCOUNT

ScopeWord = Literal["read", "submit", "admin"]
Expiry = Annotated[
    AwareDatetime,
    Field(strict=False, examples=["2027-01-01T00:00:00Z"]),
    BeforeValidator(written),
    AfterValidator(moment),
]


class NewKey(Request):
    account: AccountId = DEFAULT_ACCOUNT
    """Whose key it is. An account that nobody has named before comes into being."""
    name: Label | None = Field(default=None, examples=["the game's server"])
    """In your own words, to tell keys apart."""
    scopes: list[ScopeWord] = Field(default=["read", "submit"], min_length=1, max_length=3)
    """`read` looks, `submit` makes and changes, `admin` does both for any account and manages keys."""
    expires_at: Expiry | None = None
    """From then on it is refused. Null: never."""


class Key(Answer):
    id: str
    """Of the key in lists and logs; it opens nothing."""
    account: str
    name: str | None
    scopes: list[ScopeWord]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """A minute old at most while the key is in use."""


class CreatedKey(Key):
    key: str
    """The key itself, shown this once."""


class KeyPage(Answer):
    keys: list[Key]
    next_cursor: str | None
    """Null on the last page."""


class KeyQuery(AccountQuery):
    limit: int = Field(default=20, ge=1, le=100)
    cursor: str | None = Field(default=None, max_length=200)
    """`next_cursor` of the page before, with the same filters."""
