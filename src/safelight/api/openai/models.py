"""The models that requests in OpenAI's form can name, and which provider's each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from safelight.api.edge.problems import RequestFault
from safelight.engine.estimates.offers import offers_of
from safelight.engine.orders.catalog import Catalog, ConfiguredProvider
from safelight.providers.provider import Capabilities, UnknownModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A model that can be asked for, under the name that somebody used."""

    id: str
    provider: str
    model: str
    can: Capabilities


class ModelNames:
    """`provider/model`; a model by itself, if it is one provider's only; and the operator's `aliases` for either."""

    def __init__(self, catalog: Catalog, aliases: Mapping[str, str]) -> None:
        self._catalog = catalog
        self._aliases = aliases

    def all(self) -> list[Named]:
        """Everything that can be named, full names first; no model that its vendor has switched off."""
        full = [
            Named(id=f"{provider}/{model}", provider=provider, model=model, can=can)
            for provider, model, can in self._on_sale()
        ]
        owners: dict[str, list[Named]] = {}
        for each in full:
            owners.setdefault(each.model, []).append(each)
        taken = {each.id for each in full} | self._aliases.keys()
        short = [
            Named(id=model, provider=one.provider, model=model, can=one.can)
            for model, (one, *more) in owners.items()
            if not more and model not in taken
        ]
        found = ((alias, self.find(alias)) for alias in self._aliases)
        aliases = [
            Named(id=alias, provider=each.provider, model=each.model, can=each.can)
            for alias, each in found
            if isinstance(each, Named)
        ]
        return [*full, *short, *aliases]

    def find(self, name: str | None) -> Named | RequestFault:
        """None is the installation's default. A fault for what cannot be had under that name."""
        if name is None:
            return self._default()
        word = self._aliases.get(name, name)
        provider, slash, model = word.partition("/")
        if slash and (configured := self._catalog.providers.get(provider)) is not None:
            return self._named(name, provider, configured, model)
        owners = self._owners_of(word)
        if not owners:
            return _fault("There is no such model; `GET /openai/v1/models` lists those that there are.")
        if len(owners) > 1:
            choice = ", ".join(f"`{each}/{word}`" for each in owners)
            return _fault(f"Several providers have this model; choose among {choice}.")
        return self._named(name, owners[0], self._catalog.providers[owners[0]], word)

    def _default(self) -> Named | RequestFault:
        name = self._catalog.default
        configured = self._catalog.providers.get(name) if name is not None else None
        if name is None or configured is None or configured.model is None:
            return _fault("Name a model: there is no default.")
        return self._named(f"{name}/{configured.model}", name, configured, configured.model)

    def _owners_of(self, model: str) -> list[str]:
        """The providers that list it; if none does, those that would take it."""
        listed = list(dict.fromkeys(provider for provider, each, _ in self._offered() if each == model))
        if listed:
            return listed
        return [name for name, each in self._catalog.providers.items() if _can(each, model) is not None]

    def _named(self, name: str, provider: str, configured: ConfiguredProvider, model: str) -> Named | RequestFault:
        can = _can(configured, model)
        if can is None:
            return _fault(f"Provider `{provider}` has no such model.")
        if can.retired_on is not None:
            return _fault(f"The model was retired by its vendor on {can.retired_on}; choose another.")
        return Named(id=name, provider=provider, model=model, can=can)

    def _on_sale(self) -> Iterator[tuple[str, str, Capabilities]]:
        return (offered for offered in self._offered() if offered[2].retired_on is None)

    def _offered(self) -> Iterator[tuple[str, str, Capabilities]]:
        for name, each in self._catalog.providers.items():
            for offer in offers_of(each.provider, default_model=each.model):
                yield name, offer.model, offer.can


def _can(configured: ConfiguredProvider, model: str) -> Capabilities | None:
    try:
        return configured.provider.capabilities(model)
    except UnknownModel:
        return None


def _fault(why: str) -> RequestFault:
    return RequestFault("/model", why, "unknown-model")
