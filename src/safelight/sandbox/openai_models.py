"""OpenAI's image models as the sandbox sells them: what they draw, how many tokens that is, and what a token costs.

Prices are the vendor's published list, and token counts of the right size, written down here a second time on
purpose: the sandbox's bill is the independent witness that the project's own bookkeeping is compared with.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

STANDARD_SIZES = ("1024x1024", "1536x1024", "1024x1536")
STANDARD_QUALITIES = ("low", "medium", "high")

_NANODOLLARS_PER_MICRODOLLAR = 1_000
_STANDARD_PX = 1024 * 1024
_TOKENS = {"low": 272, "medium": 1_056, "high": 4_160, "xhigh": 8_320, "max": 16_640}  # of 1024x1024
_TOKENS_PER_REFERENCE = 323

_SIZE_FORM = re.compile(r"([1-9]\d{1,4})x([1-9]\d{1,4})")
_GRID_PX = 16
_LONGEST_EDGE_PX = 3_840
_LEAST_PX, _MOST_PX = 655_360, 8_294_400
_MOST_OBLONG = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Prices are nano-dollars per token (1 000 = $1 per million tokens)."""

    qualities: tuple[str, ...] = STANDARD_QUALITIES
    has_any_size: bool = False
    has_complexity: bool = False
    fidelities: tuple[str, ...] = ()
    text_in_price: int = 5_000
    image_in_price: int = 8_000
    text_out_price: int = 30_000
    image_out_price: int = 30_000


_NEWEST = Model(qualities=(*STANDARD_QUALITIES, "xhigh", "max"), has_any_size=True, has_complexity=True)

MODELS = {
    "gpt-image-2.6-sunburst": _NEWEST,
    "gpt-image-2.6-flare": _NEWEST,
    "gpt-image-2.5-sunburst": _NEWEST,
    "gpt-image-2.5-flare": _NEWEST,
    "gpt-image-2": Model(has_any_size=True),
    "gpt-image-1.5": Model(fidelities=("low", "high"), text_out_price=10_000, image_out_price=32_000),
    "gpt-image-1-mini": Model(
        fidelities=("low",), text_in_price=2_000, image_in_price=2_500, text_out_price=8_000, image_out_price=8_000
    ),
    "chatgpt-image-latest": Model(text_out_price=10_000, image_out_price=32_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call, of all its pictures together."""

    text_in: int
    image_in: int
    text_out: int
    image_out: int


def size_px(model: Model, size: str) -> tuple[int, int] | None:
    """Width and height; None for a size that the model does not draw."""
    if not (found := _SIZE_FORM.fullmatch(size)):
        return None
    width_px, height_px = int(found[1]), int(found[2])
    if size in STANDARD_SIZES:
        return width_px, height_px
    fits = (
        width_px % _GRID_PX == height_px % _GRID_PX == 0
        and max(width_px, height_px) <= min(_LONGEST_EDGE_PX, min(width_px, height_px) * _MOST_OBLONG)
        and _LEAST_PX <= width_px * height_px <= _MOST_PX
    )
    return (width_px, height_px) if model.has_any_size and fits else None


def usage_of(prompt: str, *, width_px: int, height_px: int, quality: str, pictures: int, references: int) -> Usage:
    """Depends on what is asked for alone. The prompt is counted once, whatever the number of pictures."""
    image_tokens = -(-_TOKENS[quality] * width_px * height_px // _STANDARD_PX)
    return Usage(
        text_in=max((len(prompt) + 3) // 4, 1),
        image_in=references * _TOKENS_PER_REFERENCE,
        text_out=hashlib.sha256(prompt.encode()).digest()[0] % 64,
        image_out=pictures * image_tokens,
    )


def cost_microusd(model: Model, usage: Usage) -> int:
    """The exact price of the tokens, rounded up once to whole micro-dollars."""
    nanodollars = (
        usage.text_in * model.text_in_price
        + usage.image_in * model.image_in_price
        + usage.text_out * model.text_out_price
        + usage.image_out * model.image_out_price
    )
    return -(-nanodollars // _NANODOLLARS_PER_MICRODOLLAR)
