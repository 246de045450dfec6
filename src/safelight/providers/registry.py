"""The provider kinds that are installed: ours and everyone else's come through the same door.

A kind is an entry point of the group `safelight.providers`; its name is the `kind` of a provider in the
settings, its object a class with `from_config`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol

from safelight.providers.provider import ImageProvider

GROUP = "safelight.providers"


class InvalidConfiguration(ValueError):
    """A provider cannot be built from what its settings say; the message says what to change."""


class ProviderKind(Protocol):
    """A class that builds providers of one kind.

    Where it talks to without a base URL of the operator's, it may say as `default_base_url`.
    """

    def from_config(self, name: str, *, api_key: str | None, base_url: str | None) -> ImageProvider:
        """`name` is what the operator called this account. Raises InvalidConfiguration."""
        ...


def load_provider_kinds() -> dict[str, ProviderKind]:
    """Every installed kind by name, imported.

    Raises InvalidConfiguration for two packages that claim one name, a class that fails to import, and one
    without `from_config`.
    """
    kinds: dict[str, ProviderKind] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in kinds:
            raise InvalidConfiguration(
                f"provider kind `{entry.name}` is installed twice; the second is `{entry.value}`"
            )
        try:
            kind = entry.load()
        except (ImportError, AttributeError) as error:
            raise InvalidConfiguration(
                f"provider kind `{entry.name}` (`{entry.value}`) cannot be loaded: {error}"
            ) from error
        if not callable(getattr(kind, "from_config", None)):
            raise InvalidConfiguration(f"provider kind `{entry.name}` (`{entry.value}`) has no `from_config`")
        kinds[entry.name] = kind
    return kinds
