"""What each vendor's models can do and cost: data files, read into frozen values.

A data file is `providers/data/<vendor>.toml`. Prices are US dollars as decimal strings; its `version` names
the price table in every cost computed from it. A model that the vendor has switched off is listed under
`[retired]` with the day, and is refused from then on: the list is knowledge, so nothing here compares it with
a clock.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from importlib import resources
from types import MappingProxyType
from typing import Any

from safelight.domain.money import MOST_USD
from safelight.providers.provider import Capabilities, SizeRule, UnknownModel

OPERATORS_PRICE_REF = "settings"
"""Names the price of a model that the operator described, in every cost computed from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrice:
    """US dollars per token, by what the token stands for."""

    input: Decimal
    text: Decimal
    image: Decimal
    image_input: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars; a way of charging that the vendor does not use is None.

    `image_usd` is what one picture of the default size is expected to cost at most, thinking included; where the
    vendor charges by picture it is the price itself. `megapixel_usd` is per started megapixel of the picture,
    `second_usd` per second that the vendor computes, `unit_usd` per unit that its answer counts.
    """

    image_usd: Decimal | None = None
    tokens: TokenPrice | None = None
    megapixel_usd: Decimal | None = None
    second_usd: Decimal | None = None
    unit_usd: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedTokens:
    """At most how many tokens the vendor counts for one picture, for the estimate of a model priced by tokens.

    `by_quality` are image tokens of a picture of up to `pixels`; `planning` is what else comes out, whatever the
    quality; `per_reference` goes in with each reference picture.
    """

    by_quality: Mapping[str, int]
    pixels: int
    planning: int = 0
    per_reference: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`price` is None for a model that cannot be bought any more, and for one whose price nobody wrote down.

    `sizes_by_ratio` is for a vendor that takes sizes only. `reference_tokens` are those of input that a reference
    picture counts at most, where `expected_tokens` do not say. `fields` are the vendor's own names and values, as its
    adapter reads them. `is_own`: the operator described it, so that no price list of ours or of others applies.
    """

    id: str
    capabilities: Capabilities
    price: Price | None
    expected_tokens: ExpectedTokens | None = None
    sizes_by_ratio: Mapping[str, str] = field(default_factory=dict)
    reference_tokens: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    is_own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTable:
    """One vendor's data file. `unbilled_statuses` are the HTTP answers for which this vendor does not charge,
    by policy; `quota_zone` is the time zone in which its quotas of the day begin anew."""

    vendor: str
    version: str
    unbilled_statuses: frozenset[int]
    models: Mapping[str, Model]
    quota_zone: str | None = None

    @property
    def price_ref(self) -> str:
        return f"safelight {self.vendor} {self.version}"

    def price_ref_of(self, model: Model) -> str:
        """Where the model's price in this table comes from."""
        return OPERATORS_PRICE_REF if model.is_own else self.price_ref

    def find(self, model: str) -> Model:
        """Raises UnknownModel."""
        try:
            return self.models[model]
        except KeyError:
            raise UnknownModel(f"`{model}` is not in the model data of `{self.vendor}`") from None


def load_models(vendor: str, *, more: Mapping[str, Mapping[str, Any]] | None = None) -> ModelTable:
    """The data file that ships with the package, and models of the operator's own, which count more.

    Raises FileNotFoundError for a vendor without a file, and InvalidModelData for `more` of another form.
    """
    source = resources.files("safelight.providers").joinpath("data", f"{vendor}.toml")
    table = parse_models(vendor, tomllib.loads(source.read_text(encoding="utf-8")))
    own = {model: _own(model, entry) for model, entry in (more or {}).items()}
    return replace(table, models=MappingProxyType({**table.models, **own}))


class InvalidModelData(ValueError):
    """A model that the operator describes is described wrongly; the message names model and field."""


def _own(model: str, entry: Mapping[str, Any]) -> Model:
    if not isinstance(entry, Mapping):
        raise InvalidModelData(f"model `{model}` is described by no table")
    if unknown := sorted(entry.keys() - _ENTRY_FIELDS):
        raise InvalidModelData(f"model `{model}`: there is no field `{unknown[0]}`; there are {sorted(_ENTRY_FIELDS)}")
    try:
        return replace(_live(model, entry), is_own=True)
    except KeyError as error:
        raise InvalidModelData(f"model `{model}`: `{error.args[0]}` is missing") from error
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise InvalidModelData(f"model `{model}`: {error or type(error).__name__}") from error


def parse_models(vendor: str, data: Mapping[str, Any]) -> ModelTable:
    """A parsed data file as values. Raises KeyError for a missing field, and ValueError for a bad price."""
    live = {model: _live(model, entry) for model, entry in data["models"].items()}
    retired = {model: _retired(model, str(day)) for model, day in data.get("retired", {}).items()}
    return ModelTable(
        vendor=vendor,
        version=data["version"],
        unbilled_statuses=frozenset(data["unbilled_statuses"]),
        quota_zone=data.get("quota_zone"),
        models=MappingProxyType(live | retired),
    )


def _live(model: str, entry: Mapping[str, Any]) -> Model:
    sizes_by_ratio = _table(entry, "sizes_by_ratio")
    if not all(isinstance(size, str) for size in sizes_by_ratio.values()):
        raise ValueError("`sizes_by_ratio` names a size that is no text")
    ratios = _names(entry, "aspect_ratios") | sizes_by_ratio.keys()
    sizes = _names(entry, "sizes") | frozenset(sizes_by_ratio.values())
    return Model(
        id=model,
        capabilities=Capabilities(
            aspect_ratios=ratios or None,
            sizes=sizes or None,
            size_rule=_size_rule(entry),
            qualities=_names(entry, "qualities") or None,
            seed=_flag(entry, "seed"),
            negative_prompt=_flag(entry, "negative_prompt"),
            max_references=_count(entry, "max_references", default=0),
            mask=_flag(entry, "mask"),
            remote_job=_flag(entry, "remote_job"),
            prompt_max_chars=_count(entry, "prompt_max_chars", default=32_000, least=1),
            timeout_seconds=_seconds(entry, "timeout_seconds"),
        ),
        price=_price(entry),
        expected_tokens=_expected_tokens(entry),
        sizes_by_ratio=MappingProxyType(sizes_by_ratio),
        reference_tokens=_count(entry, "reference_tokens", default=0),
        fields=MappingProxyType(_table(entry, "fields")),
    )


def _names(entry: Mapping[str, Any], name: str) -> frozenset[str]:
    names = entry.get(name, [])
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise ValueError(f"`{name}` is no list of names")
    return frozenset(names)


def _table(entry: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = entry.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"`{name}` is no table")
    return dict(table)


def _flag(entry: Mapping[str, Any], name: str) -> bool:
    is_set = entry.get(name, False)
    if not isinstance(is_set, bool):
        raise ValueError(f"`{name}` is neither true nor false")
    return is_set


def _count(entry: Mapping[str, Any], name: str, *, default: int, least: int = 0) -> int:
    count = int(entry.get(name, default))
    if count < least:
        raise ValueError(f"`{name}` is less than {least}")
    return count


def _seconds(entry: Mapping[str, Any], name: str) -> float:
    seconds = float(entry[name])
    if not 0 < seconds < math.inf:
        raise ValueError(f"`{name}` is no time that a call could take")
    return seconds


def _size_rule(entry: Mapping[str, Any]) -> SizeRule | None:
    rule = _table(entry, "size_rule")
    for name, value in rule.items():
        is_number = isinstance(value, int | float if name == "max_ratio" else int) and not isinstance(value, bool)
        if not is_number or not (value > 0 or (name == "min_pixels" and value == 0)):
            raise ValueError(f"`size_rule`: `{name}` is no {'' if name == 'max_ratio' else 'whole '}number above 0")
    return SizeRule(**rule) if rule else None


def _price(entry: Mapping[str, Any]) -> Price | None:
    """None when the entry names no price at all: what a call costs is then unknown, and never free."""
    tokens = None
    if entry.keys() & set(_TOKEN_PRICES):  # one of them alone would be no price, and go unnoticed
        text_input = _usd(entry, "input_usd_per_million_tokens") / 1_000_000
        has_image_input = "image_input_usd_per_million_tokens" in entry
        tokens = TokenPrice(
            input=text_input,
            text=_usd(entry, "text_usd_per_million_tokens") / 1_000_000,
            image=_usd(entry, "image_usd_per_million_tokens") / 1_000_000,
            image_input=_usd(entry, "image_input_usd_per_million_tokens") / 1_000_000
            if has_image_input
            else text_input,
        )
    flat = {name: _usd(entry, name) for name in _FLAT_PRICES if name in entry}
    return Price(tokens=tokens, **flat) if tokens or flat else None


def _usd(entry: Mapping[str, Any], name: str) -> Decimal:
    """Through text, so that a price written as a TOML float is the price that was written."""
    try:
        usd = Decimal(str(entry[name]))
    except InvalidOperation:
        raise ValueError(f"`{name}` is no amount of dollars") from None
    if not usd.is_finite() or not 0 <= usd <= MOST_USD:
        raise ValueError(f"`{name}` is no amount of dollars")
    return usd


def _expected_tokens(entry: Mapping[str, Any]) -> ExpectedTokens | None:
    expected = _table(entry, "expected_tokens")
    if not expected:
        return None
    by_quality = _table(expected, "by_quality")
    counts = [*by_quality.values(), *(value for name, value in expected.items() if name != "by_quality")]
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        raise ValueError("`expected_tokens` holds something that is no count")
    if not by_quality or expected.get("pixels") == 0:
        raise ValueError("`expected_tokens` needs tokens `by_quality`, and the `pixels` of such a picture")
    return ExpectedTokens(**{**expected, "by_quality": by_quality})


_FLAT_PRICES = ("image_usd", "megapixel_usd", "second_usd", "unit_usd")
_TOKEN_PRICES = tuple(f"{token}_usd_per_million_tokens" for token in ("input", "text", "image", "image_input"))
_ENTRY_FIELDS = frozenset(
    {
        "aspect_ratios",
        "sizes",
        "sizes_by_ratio",
        "size_rule",
        "qualities",
        "seed",
        "negative_prompt",
        "max_references",
        "reference_tokens",
        "mask",
        "remote_job",
        "prompt_max_chars",
        "timeout_seconds",
        "expected_tokens",
        "fields",
        *_FLAT_PRICES,
        *_TOKEN_PRICES,
    }
)


def _retired(model: str, day: str) -> Model:
    nothing = Capabilities(
        aspect_ratios=None, sizes=None, seed=False, negative_prompt=False, timeout_seconds=1.0, retired_on=day
    )
    return Model(id=model, capabilities=nothing, price=None)
