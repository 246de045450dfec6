"""Which provider, model and options an image gets, and whether that model can do what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from safelight.api.edge.problems import RequestFault
from safelight.api.ordering.styling import find_style, styled, why_too_long
from safelight.api.ordering.wishes import OPTION_NAMES, Wish
from safelight.api.schemas import Options
from safelight.api.schemas.submission import StyledOptions
from safelight.domain.attempts import OnUncertain, RetryBudget
from safelight.domain.fallback import OnRefusal, Target
from safelight.domain.order import ImageOrder
from safelight.domain.recipe import MAX_PROMPT_CODE_POINTS
from safelight.domain.style import Style
from safelight.engine.orders.catalog import Catalog
from safelight.providers.provider import (
    Capabilities,
    ImageInput,
    ImageProvider,
    ImageRequest,
    InputRole,
    UnknownModel,
)

_MAX_ATTEMPTS = 3
_MAX_REBUYS = 1
_SOME_PICTURE = ImageInput(role=InputRole.REFERENCE, mime="image/png", data=b"")
"""In the place of one that does not exist yet: a price depends on how many there are."""
_MODEL_OPTIONS = ("aspect_ratio", "size", "quality", "seed", "negative_prompt")


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

    def __init__(
        self, catalog: Catalog, defaults: Options, *, style: str | None = None, styles: Mapping[str, Style]
    ) -> None:
        self._catalog = catalog
        self._styles = styles
        self._style_of_all = {"style": style} if style is not None else {}
        chosen = {name: getattr(defaults, name) for name in OPTION_NAMES}
        self._defaults = {name: value for name, value in chosen.items() if value is not None}

    def style_faults(self) -> list[RequestFault]:
        """A style that the request names for all images and that does not exist, whether an image has it or not."""
        found = [find_style(name, "/style", self._styles) for name in self._style_of_all.values()]
        return [each for each in found if isinstance(each, RequestFault)]

    def order(self, wish: Wish) -> ImageOrder | list[RequestFault]:
        """The image, ready to be stored, or everything that speaks against it."""
        try:
            StyledOptions.model_validate(dict(wish.recipe_options))
        except ValidationError:
            why = f"The recipe's own options for group `{wish.group}` are wrong; correct the recipe."
            return [RequestFault("/recipe", why)]
        choices = self._choices(wish)
        style = self._style(choices)
        faults = [style] if isinstance(style, RequestFault) else []
        target = self._target(choices)
        if isinstance(target, RequestFault):
            return [*faults, target]
        fallbacks = self._fallbacks(choices)
        others = [each for each in fallbacks if isinstance(each, _Target)]
        if isinstance(style, Style):
            takes_negative = all(each.can.negative_prompt for each in (target, *others))
            wish = styled(wish, style, takes_negative=takes_negative)
            if takes_negative:
                faults += _add_negative(choices, style)
        faults += [
            *_shape_faults(choices, target),
            *_option_faults(choices, target),
            *_prompt_faults(wish, target),
            *_reference_faults(wish, target),
            *_refusal_faults(choices, wish),
        ]
        faults += [each for each in fallbacks if isinstance(each, RequestFault)]
        for other in others:
            faults += [
                *_shape_faults(choices, other),
                *_option_faults(choices, other),
                *_prompt_faults(wish, other),
                *_reference_faults(wish, other),
            ]
        return faults or _order(wish, choices, target, others)

    def _choices(self, wish: Wish) -> dict[str, _Choice]:
        """The strongest word on each option. A provider leaves the weaker model and fallbacks behind, a size the weaker
        aspect ratio, and the other way round: they were meant for each other."""
        choices: dict[str, _Choice] = {}
        layers = (
            (wish.recipe_options, "/recipe"),
            (self._style_of_all, ""),
            (self._defaults, "/defaults"),
            (wish.own_options, wish.pointer),
        )
        for layer, place in layers:
            if "provider" in layer and layer["provider"] != _value(choices, "provider"):
                choices.pop("model", None)
                choices.pop("fallback", None)
            for one, other in (("size", "aspect_ratio"), ("aspect_ratio", "size")):
                if layer.get(one) is not None:
                    choices.pop(other, None)
            for name, value in layer.items():
                choices[name] = _Choice(value, place if place == "/recipe" else f"{place}/{name}")
        return choices

    def _style(self, choices: Mapping[str, _Choice]) -> Style | RequestFault | None:
        choice = choices.get("style")
        if choice is None or choice.value is None:
            return None
        return find_style(choice.value, choice.pointer, self._styles)

    def _target(self, choices: Mapping[str, _Choice]) -> _Target | RequestFault:
        name = _value(choices, "provider") or self._catalog.default
        provider_pointer = _pointer(choices, "provider", "/defaults/provider")
        if name is None:
            names = ", ".join(f"`{each}`" for each in self._catalog.providers)
            detail = f"Name a provider: there is no obvious one among {names}."
            return RequestFault(provider_pointer, detail, "no-provider")
        model_pointer = _pointer(choices, "model", "/defaults/model")
        return self._find(name, _value(choices, "model"), provider_pointer, model_pointer)

    def _fallbacks(self, choices: Mapping[str, _Choice]) -> list[_Target | RequestFault]:
        """In the order asked for; `provider` or `provider/model`, of which a model may have slashes of its own."""
        choice = choices.get("fallback")
        if choice is None or choice.value is None:
            return []
        targets: list[_Target | RequestFault] = []
        for position, word in enumerate(choice.value):
            place = choice.pointer if choice.pointer == "/recipe" else f"{choice.pointer}/{position}"
            provider, _, model = word.partition("/")
            targets.append(self._find(provider, model or None, place, place))
        return targets

    def _find(self, name: str, model: str | None, provider_pointer: str, model_pointer: str) -> _Target | RequestFault:
        configured = self._catalog.providers.get(name)
        if configured is None:
            known = _quoted(self._catalog.providers)
            return RequestFault(
                provider_pointer,
                f"No provider of this name is configured; there are {known}.",
                "unknown-model",
            )
        model = model or configured.model
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
    ratios, sizes = target.can.aspect_ratios or frozenset(), target.can.sizes or frozenset()
    if ratio is not None and ratio.value is not None and ratio.value not in ratios:
        faults.append(_unsupported_shape(ratio, target, "aspect ratio", ratios))
    if size is not None and size.value is not None and not target.can.takes_size(size.value):
        faults.append(_unsupported_shape(size, target, "size", sizes))
    return faults


def _unsupported_shape(choice: _Choice, target: _Target, kind: str, allowed: frozenset[str]) -> RequestFault:
    offer = f"it has {_quoted(allowed)}" if allowed else f"it takes no {kind}"
    rule = target.can.size_rule if kind == "size" else None
    if rule is not None:
        offer += (
            f", and others with sides that are multiples of {rule.step_px}, at most {rule.max_width_px}x"
            f"{rule.max_height_px} and no longer than {rule.max_ratio:g} to 1"
        )
    why = f"`{target.model}` does not make this {kind}; {offer}."
    return RequestFault(choice.pointer, why, "unsupported-size")


def _option_faults(choices: Mapping[str, _Choice], target: _Target) -> list[RequestFault]:
    faults = [
        RequestFault(
            choices[name].pointer,
            f"`{target.model}` takes no {name.replace('_', ' ')}.",
            "unsupported-option",
        )
        for name, is_taken in (("seed", target.can.seed), ("negative_prompt", target.can.negative_prompt))
        if _value(choices, name) is not None and not is_taken
    ]
    quality, qualities = _value(choices, "quality"), target.can.qualities
    if quality is not None and quality not in (qualities or ()):
        offer = f"it has {_quoted(qualities)}" if qualities else "it takes none"
        why = f"`{target.model}` has no such quality; {offer}."
        faults.append(RequestFault(choices["quality"].pointer, why, "unsupported-option"))
    return faults


def _reference_faults(wish: Wish, target: _Target) -> list[RequestFault]:
    most = target.can.max_references
    faults: list[RequestFault] = []
    if len(wish.references) > most:
        why = f"takes at most {most} references" if most else "takes no references"
        faults.append(RequestFault(f"{wish.pointer}/references", f"`{target.model}` {why}.", "unsupported-option"))
    if wish.mask is not None and not target.can.mask:
        faults.append(RequestFault(f"{wish.pointer}/mask", f"`{target.model}` takes no mask.", "unsupported-option"))
    return faults


def _refusal_faults(choices: Mapping[str, _Choice], wish: Wish) -> list[RequestFault]:
    """A policy that has nothing to go by."""
    policy = _value(choices, "on_refusal")
    if policy == OnRefusal.NEXT_PROVIDER and not _value(choices, "fallback"):
        why = "`next_provider` needs a `fallback`."
        return [RequestFault(choices["on_refusal"].pointer, why, "validation-error")]
    if policy == OnRefusal.ALTERNATE_PROMPT and wish.alternate_prompt is None:
        why = f"Image `{wish.id}` has no `alternate_prompt`, which `on_refusal` asks for."
        return [RequestFault(wish.pointer, why, "validation-error")]
    return []


def _prompt_faults(wish: Wish, target: _Target) -> list[RequestFault]:
    most = target.can.prompt_max_chars
    prompts = ((wish.prompt, wish.prompt_pointer), (wish.alternate_prompt or "", f"{wish.pointer}/alternate_prompt"))
    found = [(place, why_too_long(prompt, wish, model=target.model, most=most)) for prompt, place in prompts]
    return [RequestFault(place, why, "prompt-too-long") for place, why in found if why is not None]


def _add_negative(choices: dict[str, _Choice], style: Style) -> list[RequestFault]:
    """The style's words go into the negative prompt, after the request's own."""
    joined = style.joined_negative(_value(choices, "negative_prompt"))
    place = _pointer(choices, "negative_prompt", choices["style"].pointer)
    if joined is not None:
        choices["negative_prompt"] = _Choice(joined, place)
    if len(joined or "") > MAX_PROMPT_CODE_POINTS:
        why = f"With that of the style `{style.name}`, it has more than {MAX_PROMPT_CODE_POINTS} characters."
        return [RequestFault(place, why, "prompt-too-long")]
    return []


def _order(wish: Wish, choices: Mapping[str, _Choice], target: _Target, others: list[_Target]) -> ImageOrder:
    options = {name: choices[name].value for name in _MODEL_OPTIONS if _value(choices, name) is not None}
    rebuys = _value(choices, "max_rebuys")
    first, *fallbacks = (_way(each, wish, choices, options) for each in (target, *others))
    return ImageOrder(
        id=wish.id,
        group=wish.group,
        provider=first.provider,
        model=first.model,
        prompt=wish.prompt,
        options=first.options,
        timeout_seconds=first.timeout_seconds,
        budget=RetryBudget(
            max_attempts=_value(choices, "max_attempts") or _MAX_ATTEMPTS,
            max_rebuys=_MAX_REBUYS if rebuys is None else rebuys,
            on_uncertain=OnUncertain(_value(choices, "on_uncertain") or OnUncertain.RETRY_ONCE),
        ),
        estimate_microusd=first.estimate_microusd,
        fallbacks=tuple(fallbacks),
        on_refusal=OnRefusal(_value(choices, "on_refusal") or OnRefusal.STOP),
        alternate_prompt=wish.alternate_prompt,
        style=wish.style,
        references=wish.references,
        mask=wish.mask,
    )


def _way(target: _Target, wish: Wish, choices: Mapping[str, _Choice], options: Mapping[str, Any]) -> Target:
    timeout_seconds = float(_value(choices, "timeout_seconds") or target.can.timeout_seconds)
    quote = target.provider.estimate(
        ImageRequest(
            model=target.model,
            prompt=max(wish.prompt, wish.alternate_prompt or "", key=lambda text: len(text.encode())),
            attempt_key="estimate",
            timeout_seconds=timeout_seconds,
            inputs=(_SOME_PICTURE,) * len(wish.references),
            **options,
        )
    )
    return Target(
        provider=target.provider_name,
        model=target.model,
        options=options,
        timeout_seconds=timeout_seconds,
        estimate_microusd=quote.microusd,
    )


def _value(choices: Mapping[str, _Choice], name: str) -> Any:
    choice = choices.get(name)
    return None if choice is None else choice.value


def _pointer(choices: Mapping[str, _Choice], name: str, otherwise: str) -> str:
    return choices[name].pointer if name in choices else otherwise


def _quoted(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
