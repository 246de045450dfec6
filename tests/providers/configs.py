"""Provider configurations, as the settings would give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safelight.net.fetch import Fetched, FetchRefused
from safelight.providers.registry import ProviderConfig


async def no_fetch(url: str, *, max_bytes: int, timeout_seconds: float) -> Fetched:
    """For adapters that fetch nothing."""
    raise FetchRefused(url)


def config(
    *,
    api_key: str | None = None,
    base_url: str | None = None,
    models: Mapping[str, Mapping[str, Any]] | None = None,
) -> ProviderConfig:
    return ProviderConfig(api_key=api_key, base_url=base_url, models=models or {}, fetch=no_fetch)
