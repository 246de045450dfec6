"""Which provider, model and options an image gets, and whether that model can do what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from safelight.api.problems import RequestFault
from safelight.api.schemas import Options
from safelight.api.wishes import OPTION_NAMES, Wish
from safelight.domain.attempts import OnUncertain, RetryBudget
from safelight.domain.order import ImageOrder
from safelight.engine.catalog import Catalog
from safelight.providers.provider import Capabilities, ImageProvider, ImageRequest, UnknownModel

_MAX_ATTEMPTS = 3
_MAX_REBUYS = 1
_MODEL_OPTIONS = ("aspect_ratio", "size", "seed", "negative_prompt")


@dataclass(frozen=True, slots=True)
class _Choice:
    """A value, and the place in the request that asked for it."""

    value: Any
    pointer: str


@dataclass(frozen=True, slots=True)
class _Target:
    """A model that exists, at a provider that is configured."""

    provider: ImageProvider
    provider_name: str
    model: str
    can: Capabilities


class Chooser:
    """Orders images one by one, with one request's defaults."""

    def __init__(self, catalog: Catalog, defaults: Options) -> None:
        self._catalog = catalog
        chosen = {name: getattr(defaults, name) for name in OPTION_NAMES}
        self._defaults = {name: value for name, value in chosen.items() if value is not None}

    def order(self, wish: Wish) -> ImageOrder | list[RequestFault]:
        """The image, ready to be stored, or everything that speaks against it."""
        try:
            Options.model_validate(dict(wish.recipe_options))
        except ValidationError:
            why = f"The recipe's own options for group `{wish.group}` are wrong; correct the recipe."
            return [RequestFault("/recipe", why)]
        choices = self._choices(wish)
        target = self._target(choices)
        if isinstance(target, RequestFault):
            return [target]
        faults = [
            *_shape_faults(choices, target),
            *_option_faults(choices, target),
            *_prompt_faults(wish, target),
        ]
        return faults or _order(wish, choices, target)

    def _choices(self, wish: Wish) -> dict[str, _Choice]:
        """The strongest word on each option. A provider leaves the weaker model behind, a size the weaker
        aspect ratio, and the other way round: they were meant for each other."""
        choices: dict[str, _Choice] = {}
        layers = (
            (wish.recipe_options, "/recipe"),
            (self._defaults, "/defaults"),
            (wish.own_options, wish.pointer),
        )
        for layer, place in layers:
            if "provider" in layer and layer["provider"] != _value(choices, "provider"):
                choices.pop("model", None)
            for one, other in (("size", "aspect_ratio"), ("aspect_ratio", "size")):
                if layer.get(one) is not None:
                    choices.pop(other, None)
            for name, value in layer.items():
                choices[name] = _Choice(value, place if place == "/recipe" else f"{place}/{name}")
        return choices

    def _target(self, choices: Mapping[str, _Choice]) -> _Target | RequestFault:
        name = _value(choices, "provider") or self._catalog.default
        provider_pointer = _pointer(choices, "provider", "/defaults/provider")
        if name is None:
            return RequestFault(provider_pointer, "Name a provider: there is no obvious one.", "no-provider")
        configured = self._catalog.providers.get(name)
        if configured is None:
            known = _quoted(self._catalog.providers)
            return RequestFault(
                provider_pointer,
                f"No provider of this name is configured; there are {known}.",
                "unknown-model",
            )
        model = _value(choices, "model") or configured.model
        model_pointer = _pointer(choices, "model", "/defaults/model")
        if model is None:
            return RequestFault(
                model_pointer, f"Name a model: none is configured for provider `{name}`.", "unknown-model"
            )
        try:
            can = configured.provider.capabilities(model)
        except UnknownModel:
            return RequestFault(model_pointer, f"Provider `{name}` has no such model.", "unknown-model")
        if can.retired_on is not None:
            why = f"`{model}` was retired by its vendor on {can.retired_on}; choose another model."
            return RequestFault(model_pointer, why, "unknown-model")
        return _Target(configured.provider, name, model, can)


def _shape_faults(choices: Mapping[str, _Choice], target: _Target) -> list[RequestFault]:
    ratio, size = choices.get("aspect_ratio"), choices.get("size")
    if ratio is not None and ratio.value is not None and size is not None and size.value is not None:
        return [RequestFault(size.pointer, "Give an aspect ratio or a size, not both.", "unsupported-size")]
    faults: list[RequestFault] = []
    for choice, allowed, kind in (
        (ratio, target.can.aspect_ratios, "aspect ratio"),
        (size, target.can.sizes, "size"),
    ):
        if choice is None or choice.value is None or choice.value in (allowed or ()):
            continue
        offer = f"it has {_quoted(allowed)}" if allowed else f"it takes no {kind}"
        why = f"`{target.model}` does not make this {kind}; {offer}."
        faults.append(RequestFault(choice.pointer, why, "unsupported-size"))
    return faults


def _option_faults(choices: Mapping[str, _Choice], target: _Target) -> list[RequestFault]:
    return [
        RequestFault(
            choices[name].pointer,
            f"`{target.model}` takes no {name.replace('_', ' ')}.",
            "unsupported-option",
        )
        for name, is_taken in (("seed", target.can.seed), ("negative_prompt", target.can.negative_prompt))
        if _value(choices, name) is not None and not is_taken
    ]


def _prompt_faults(wish: Wish, target: _Target) -> list[RequestFault]:
    most = target.can.prompt_max_chars
    if len(wish.prompt) <= most:
        return []
    why = f"A prompt for `{target.model}` has at most {most} characters."
    return [RequestFault(wish.prompt_pointer, why, "prompt-too-long")]


def _order(wish: Wish, choices: Mapping[str, _Choice], target: _Target) -> ImageOrder:
    options = {name: choices[name].value for name in _MODEL_OPTIONS if _value(choices, name) is not None}
    timeout_seconds = float(_value(choices, "timeout_seconds") or target.can.timeout_seconds)
    rebuys = _value(choices, "max_rebuys")
    quote = target.provider.estimate(
        ImageRequest(
            model=target.model,
            prompt=wish.prompt,
            attempt_key="estimate",
            timeout_seconds=timeout_seconds,
            **options,
        )
    )
    return ImageOrder(
        id=wish.id,
        group=wish.group,
        provider=target.provider_name,
        model=target.model,
        prompt=wish.prompt,
        options=options,
        timeout_seconds=timeout_seconds,
        budget=RetryBudget(
            max_attempts=_value(choices, "max_attempts") or _MAX_ATTEMPTS,
            max_rebuys=_MAX_REBUYS if rebuys is None else rebuys,
            on_uncertain=OnUncertain(_value(choices, "on_uncertain") or OnUncertain.RETRY_ONCE),
        ),
        estimate_microusd=quote.microusd,
    )


def _value(choices: Mapping[str, _Choice], name: str) -> Any:
    choice = choices.get(name)
    return None if choice is None else choice.value


def _pointer(choices: Mapping[str, _Choice], name: str, otherwise: str) -> str:
    return choices[name].pointer if name in choices else otherwise


def _quoted(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
