"""What can go wrong, by what the caller or the engine does about it.

    SafelightError
    ├── InvalidRequest          the caller's input; carries one `Fault` per field
    ├── NotFound                no such job, image or picture
    ├── Conflict                the job or image is in no state for this
    └── Unavailable             try again later (database gone, shutting down)

A vendor's failure is not in this tree: it is `providers.provider.ProviderError`, and the engine turns it into an
outcome. A lost lease is not an error either: it is a return value (`LeaseLost`).
"""

from __future__ import annotations

from dataclasses import dataclass
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


class Forbidden(SafelightError):
    """The caller is known, and may not do this."""

    slug = "insufficient-scope"


class NotFound(SafelightError):
    slug = "not-found"


class Conflict(SafelightError):
    """What was asked cannot be done in the present state; `slug` says which state."""

    slug = "conflict"


class Unavailable(SafelightError):
    """Nothing is wrong with the request: the same one may succeed after `retry_after_seconds`."""

    slug = "unavailable"

    def __init__(self, detail: str, *, slug: str | None = None, retry_after_seconds: int = 2) -> None:
        super().__init__(detail, slug=slug)
        self.retry_after_seconds = retry_after_seconds
