"""A style around an image's prompts, before a model is asked whether it can do what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from safelight.api.edge.problems import RequestFault
from safelight.api.ordering.wishes import Wish
from safelight.domain.recipe import MAX_PROMPT_CODE_POINTS
from safelight.domain.style import Style

_NAMES_SHOWN = 20


def find_style(name: str, pointer: str, styles: Mapping[str, Style]) -> Style | RequestFault:
    """The style, or a fault that names those there are."""
    style = styles.get(name)
    if style is not None:
        return style
    known = ", ".join(f"`{each}`" for each in sorted(styles)[:_NAMES_SHOWN])
    more = f" and {len(styles) - _NAMES_SHOWN} more" if len(styles) > _NAMES_SHOWN else ""
    return RequestFault(pointer, f"There is no such style; there are {known}{more}.")


def styled(wish: Wish, style: Style, *, takes_negative: bool) -> Wish:
    """The same image with the style's words around its prompts."""
    applied = style.applied(takes_negative=takes_negative)
    alternate = applied.around(wish.alternate_prompt) if wish.alternate_prompt is not None else None
    return replace(wish, prompt=applied.around(wish.prompt), alternate_prompt=alternate, style=applied)


def why_too_long(prompt: str, wish: Wish, *, model: str, most: int) -> str | None:
    """In words; None for a prompt that fits a model that takes so many characters, and our own limit."""
    most = min(most, MAX_PROMPT_CODE_POINTS)
    if len(prompt) <= most:
        return None
    if wish.style is None:
        return f"A prompt for `{model}` has at most {most} characters."
    return (
        f"A prompt for `{model}` has at most {most} characters; with the style `{wish.style.name}`, "
        f"which adds {wish.style.chars}, this one has {len(prompt)}."
    )
