"""One thing that a vendor can do to a call, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from safelight.domain.errors import Billed, Scope

PICTURE, REFUSAL = "picture", "refusal"


class Place(StrEnum):
    """Where the vendor is looked for."""

    SANDBOX = "at its address"
    DEAF = "at a port that nobody listens on"
    NOWHERE = "under a name that does not exist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What an adapter makes of a call. `outcome` is `picture`, `refusal` or an ErrorKind.

    `is_charged`: the vendor's bill has an amount. `wait_seconds` is what the vendor asks for, in the adapter's bounds.
    """

    outcome: str
    billed: Billed
    is_charged: bool
    scope: Scope = Scope.REQUEST
    wait_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One thing that a vendor does. `code` is None for a picture.

    `requests` are the billable ones that it sees. `troubles` are the codes of the polls that could not tell how the job
    stands, before one could. `is_whole` is False for a picture that is none, which is not the adapter's to find out:
    the engine looks at all bytes before they are anybody's. `is_exact` is False where the vendor does not say what it
    counted, and the model data's price, an upper bound, is booked.
    """

    vendor: str
    what: str
    script: str
    ending: Ending
    code: str | None = None
    requests: int = 1
    troubles: tuple[str, ...] = ()
    is_whole: bool = True
    is_exact: bool = True
    within_seconds: float = 30.0
    place: Place = Place.SANDBOX
    api_key: str = "test-key"
    asked: Mapping[str, Any] = field(default_factory=dict)
