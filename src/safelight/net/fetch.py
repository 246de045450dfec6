"""Fetching what somebody else named: a vendor's result, a caller's reference.

Only the contract is here; the guard that keeps it is in `egress`. An adapter is handed a `Fetch` and never opens such
an address by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The body of a 200, whole. `mime` is what its server called it, without parameters, or None."""

    data: bytes = field(repr=False)
    mime: str | None


class FetchRefused(Exception):
    """The address is not one that may be fetched: asked again it will be refused again. Nothing was connected to."""


class FetchFailed(Exception):
    """The address could not be read. `is_final`: asked again it will not be there either (404, 410, too large)."""

    def __init__(self, message: str, *, is_final: bool, http_status: int | None = None) -> None:
        super().__init__(message)
        self.is_final = is_final
        self.http_status = http_status


class Fetch(Protocol):
    """GETs an address without any credentials, redirects or cookies, within a total time and a number of bytes."""

    async def __call__(self, url: str, *, max_bytes: int, timeout_seconds: float) -> Fetched:
        """Raises FetchRefused and FetchFailed."""
        ...
