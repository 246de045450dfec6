"""What each vendor's models can do and cost: data files, read into frozen values.

A data file is `providers/data/<vendor>.toml`. Prices are US dollars as decimal strings; its `version` names
the price table in every cost computed from it. A model that the vendor has switched off is listed under
`[retired]` with the day, and is refused from then on: the list is knowledge, so nothing here compares it with
a clock.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from types import MappingProxyType
from typing import Any

from safelight.providers.provider import Capabilities, UnknownModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars. `image_usd` is what one picture of the default size is expected to cost at most, thinking
    included; the other three are per token."""

    image_usd: Decimal
    input_token_usd: Decimal
    text_token_usd: Decimal
    image_token_usd: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`price` is None for a model that cannot be bought any more."""

    id: str
    capabilities: Capabilities
    price: Price | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTable:
    """One vendor's data file. `unbilled_statuses` are the HTTP answers for which this vendor does not charge,
    by policy."""

    vendor: str
    version: str
    unbilled_statuses: frozenset[int]
    models: Mapping[str, Model]

    @property
    def price_ref(self) -> str:
        return f"safelight {self.vendor} {self.version}"

    def find(self, model: str) -> Model:
        """Raises UnknownModel."""
        try:
            return self.models[model]
        except KeyError:
            raise UnknownModel(f"`{model}` is not in the model data of `{self.vendor}`") from None


def load_models(vendor: str) -> ModelTable:
    """The data file that ships with the package. Raises FileNotFoundError for a vendor without one."""
    source = resources.files("safelight.providers").joinpath("data", f"{vendor}.toml")
    return parse_models(vendor, tomllib.loads(source.read_text(encoding="utf-8")))


def parse_models(vendor: str, data: Mapping[str, Any]) -> ModelTable:
    """A parsed data file as values. Raises KeyError for a missing field and decimal.InvalidOperation for a
    bad price."""
    live = {model: _live(model, entry) for model, entry in data["models"].items()}
    retired = {model: _retired(model, str(day)) for model, day in data.get("retired", {}).items()}
    return ModelTable(
        vendor=vendor,
        version=data["version"],
        unbilled_statuses=frozenset(data["unbilled_statuses"]),
        models=MappingProxyType(live | retired),
    )


def _live(model: str, entry: Mapping[str, Any]) -> Model:
    return Model(
        id=model,
        capabilities=Capabilities(
            aspect_ratios=frozenset(entry["aspect_ratios"]) if "aspect_ratios" in entry else None,
            sizes=frozenset(entry["sizes"]) if "sizes" in entry else None,
            seed=entry["seed"],
            negative_prompt=entry["negative_prompt"],
            timeout_seconds=float(entry["timeout_seconds"]),
        ),
        price=Price(
            image_usd=Decimal(entry["image_usd"]),
            input_token_usd=_per_token(entry["input_usd_per_million_tokens"]),
            text_token_usd=_per_token(entry["text_usd_per_million_tokens"]),
            image_token_usd=_per_token(entry["image_usd_per_million_tokens"]),
        ),
    )


def _retired(model: str, day: str) -> Model:
    nothing = Capabilities(
        aspect_ratios=None, sizes=None, seed=False, negative_prompt=False, timeout_seconds=1.0, retired_on=day
    )
    return Model(id=model, capabilities=nothing, price=None)


def _per_token(usd_per_million: str) -> Decimal:
    return Decimal(usd_per_million) / 1_000_000
