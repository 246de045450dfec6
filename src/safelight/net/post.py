"""Posting to an address that somebody else named: a receiver of webhooks.

Only the contract is here; the guard that keeps it is in `egress`, and refuses and fails in the words of `fetch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What was answered, whatever the status says. `headers` have their names in lower case; `reply` is the beginning
    of the body as it came, or as much of it as came in time."""

    http_status: int
    headers: Mapping[str, str] = field(repr=False)
    reply: bytes = field(repr=False)


class Post(Protocol):
    """POSTs to an address without any credentials, redirects or cookies, within a total time."""

    async def __call__(self, url: str, *, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Posted:
        """Raises FetchRefused when nothing was connected to, and FetchFailed when there was no answer."""
        ...
