"""The provider kinds that are installed: ours and everyone else's come through the same door.

A kind is an entry point of the group `safelight.providers`; its name is the `kind` of a provider in the
settings, its object a class with `from_config`. A kind is imported when a provider of it is built, and not before: a
vendor's SDK takes a second and tens of megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from safelight.net.fetch import Fetch
from safelight.providers.provider import ImageProvider

GROUP = "safelight.providers"


class InvalidConfiguration(ValueError):
    """A provider cannot be built from what its settings say; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderConfig:
    """What the operator said of an account. `fetch` is how a result's URL is to be read: through the egress guard.

    `models` are models that the vendor's own data does not list, in the form of a data file's `[models]`: how a
    compatible server is told apart from the vendor whose protocol it speaks.
    """

    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fetch: Fetch


class ProviderKind(Protocol):
    """A class that builds providers of one kind.

    Where it talks to without a base URL of the operator's, it may say as `default_base_url`.
    """

    def from_config(self, name: str, config: ProviderConfig) -> ImageProvider:
        """`name` is what the operator called this account. Raises InvalidConfiguration."""
        ...


def installed_kinds() -> dict[str, EntryPoint]:
    """Every installed kind by name, not imported. Raises InvalidConfiguration for two packages that claim one name."""
    kinds: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in kinds:
            raise InvalidConfiguration(
                f"provider kind `{entry.name}` is installed twice; the second is `{entry.value}`"
            )
        kinds[entry.name] = entry
    return kinds


def load_kind(name: str, kinds: Mapping[str, EntryPoint]) -> ProviderKind:
    """The kind of that name, imported.

    Raises InvalidConfiguration for one that is not installed, that fails to import, or that has no `from_config`.
    """
    entry = kinds.get(name)
    if entry is None:
        raise InvalidConfiguration(f"provider kind `{name}` is not installed; there are {sorted(kinds)}")
    try:
        kind = entry.load()
    except (ImportError, AttributeError) as error:
        raise InvalidConfiguration(f"provider kind `{name}` (`{entry.value}`) cannot be loaded: {error}") from error
    if not callable(getattr(kind, "from_config", None)):
        raise InvalidConfiguration(f"provider kind `{name}` (`{entry.value}`) has no `from_config`")
    return kind
