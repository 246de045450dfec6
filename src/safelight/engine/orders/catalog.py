"""The providers of this installation, as a submit sees them: what is configured, and what a request may ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from safelight.providers.provider import ImageProvider


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredProvider:
    """A provider under the name that requests use. `model` is taken when a request names none.

    `requests_per_minute` bounds the calls of any 60 seconds, over all workers; None: no bound.
    """

    provider: ImageProvider
    kind: str
    model: str | None
    max_concurrency: int
    requests_per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All providers by name; `default` is the one for requests that name none, if there is an obvious one."""

    providers: Mapping[str, ConfiguredProvider]
    default: str | None

    def max_concurrency(self) -> dict[str, int]:
        return {name: each.max_concurrency for name, each in self.providers.items()}

    def requests_per_minute(self) -> dict[str, int]:
        """Of the providers that have a bound."""
        limits = ((name, each.requests_per_minute) for name, each in self.providers.items())
        return {name: limit for name, limit in limits if limit is not None}
