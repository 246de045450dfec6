"""What can go wrong, by what the caller or the engine does about it.

    SafelightError
    ├── InvalidRequest          the caller's input; carries one `Fault` per field
    │   └── BudgetExceeded      more than is left to spend; says how much is
    ├── InvalidSignature        a link that does not stand in for a key
    ├── NotFound                no such job, image or picture
    ├── Gone                    it was removed
    ├── Conflict                the job or image is in no state for this
    └── Unavailable             try again later (database gone, shutting down)

A vendor's failure is not in this tree: it is `providers.provider.ProviderError`, and the engine turns it into an
outcome. A lost lease is not an error either: it is a return value (`LeaseLost`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class ErrorKind(StrEnum):
    """Why an image has no picture, in the words of the public contract."""

    TEMPORARY = "TEMPORARY"
    RATE_LIMIT = "RATE_LIMIT"
    TIMEOUT = "TIMEOUT"
    PERMANENT = "PERMANENT"
    AUTH_ERROR = "AUTH_ERROR"
    SAFETY = "SAFETY"
    UNKNOWN = "UNKNOWN"
    DEADLINE = "DEADLINE"
    BUDGET = "BUDGET"
    CRASHED = "CRASHED"
    INVALID_OUTPUT = "INVALID_OUTPUT"
    DEPENDENCY = "DEPENDENCY"
    STORAGE = "STORAGE"


class Billed(StrEnum):
    """Whether the vendor charged for a call: `unknown` is an answer, never a default."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Scope(StrEnum):
    """Whom a vendor's failure concerns: this request, or every request of the account."""

    REQUEST = "request"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Fault:
    """One field that is wrong. `pointer` is a JSON Pointer (RFC 6901) into the request body."""

    pointer: str
    detail: str


class SafelightError(Exception):
    """Something a caller of Safelight can act on. `slug` names the problem type, `/problems/<slug>`."""

    slug = "error"

    def __init__(self, detail: str, *, slug: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        if slug is not None:
            self.slug = slug


class InvalidRequest(SafelightError):
    """The request cannot be accepted as it stands; nothing was created."""

    slug = "validation-error"

    def __init__(self, detail: str, *, slug: str | None = None, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(detail, slug=slug)
        self.faults = faults


class BudgetExceeded(InvalidRequest):
    """What was asked for costs more than is left; nothing was created. `remaining` says how much that is, in
    `remaining_micros` (micro-USD) or `remaining_credits`. `exhausted` is the account and the day whose budget has no
    room for the least of it either."""

    slug = "budget-exceeded"

    def __init__(self, detail: str, *, remaining: Mapping[str, int], exhausted: tuple[str, date] | None = None) -> None:
        super().__init__(detail)
        self.remaining = remaining
        self.exhausted = exhausted


class Unauthenticated(SafelightError):
    """Nobody knows who calls: without a key, or with one that is not, or no longer, good."""

    slug = "unauthenticated"


class Forbidden(SafelightError):
    """The caller is known, and may not do this."""

    slug = "insufficient-scope"


class InvalidSignature(SafelightError):
    """A link that was to stand in for a key does not; how it fails, nobody is told."""

    slug = "invalid-signature"

    def __init__(self) -> None:
        super().__init__("This link is not good, or not any more.")


class NotFound(SafelightError):
    slug = "not-found"


class Gone(SafelightError):
    """It was there, and was removed for good."""

    slug = "gone"


class Conflict(SafelightError):
    """What was asked cannot be done in the present state; `slug` says which state."""

    slug = "conflict"


class Unavailable(SafelightError):
    """Nothing is wrong with the request: the same one may succeed after `retry_after_seconds`."""

    slug = "unavailable"

    def __init__(self, detail: str, *, slug: str | None = None, retry_after_seconds: int = 2) -> None:
        super().__init__(detail, slug=slug)
        self.retry_after_seconds = retry_after_seconds
