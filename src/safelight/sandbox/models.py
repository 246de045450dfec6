"""The models the sandbox sells: what they draw, how many tokens that is, and what a token costs.

Token counts and prices are the vendor's published list, written down here a second time on purpose: the
sandbox's bill is the independent witness that the project's own bookkeeping is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

_NANODOLLARS_PER_MICRODOLLAR = 1_000

# Pixels of the "1K" class; other classes scale both sides.
RATIO_PX = {
    "1:1": (1024, 1024),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1184),
    "4:3": (1184, 864),
    "4:5": (896, 1152),
    "5:4": (1152, 896),
    "9:16": (768, 1344),
    "16:9": (1344, 768),
    "21:9": (1536, 672),
    "1:4": (512, 2048),
    "4:1": (2048, 512),
    "1:8": (384, 3072),
    "8:1": (3072, 384),
}
SIZE_SCALE = {"512": 0.5, "1K": 1.0, "2K": 2.0, "4K": 4.0}

_COMMON_RATIOS = frozenset(list(RATIO_PX)[:10])
_ALL_RATIOS = frozenset(RATIO_PX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Prices are nano-dollars per token (1 000 = $1 per million tokens); `image_tokens` is by size class."""

    aspect_ratios: frozenset[str]
    image_tokens: dict[str, int]
    input_price: int
    text_price: int
    image_price: int


MODELS = {
    "gemini-nano-banana-2.1": Model(
        aspect_ratios=_ALL_RATIOS,
        image_tokens={"1K": 1120, "2K": 1680, "4K": 2520},
        input_price=1_500,
        text_price=7_500,
        image_price=30_000,
    ),
    "gemini-3.1-flash-image": Model(
        aspect_ratios=_ALL_RATIOS,
        image_tokens={"512": 747, "1K": 1120, "2K": 1680, "4K": 2520},
        input_price=500,
        text_price=3_000,
        image_price=60_000,
    ),
    "gemini-3.1-flash-lite-image": Model(
        aspect_ratios=_ALL_RATIOS,
        image_tokens={"1K": 1120},
        input_price=250,
        text_price=1_500,
        image_price=30_000,
    ),
    "gemini-3-pro-image": Model(
        aspect_ratios=_COMMON_RATIOS,
        image_tokens={"1K": 1120, "2K": 1120, "4K": 2000},
        input_price=2_000,
        text_price=12_000,
        image_price=120_000,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call. Thoughts are output text by price, but counted apart."""

    prompt_text: int
    prompt_images: int = 0
    text: int = 0
    image: int = 0
    thoughts: int = 0


def cost_microusd(model: Model, usage: Usage) -> int:
    """The exact price of the tokens, rounded up once to whole micro-dollars."""
    nanodollars = (
        (usage.prompt_text + usage.prompt_images) * model.input_price
        + (usage.text + usage.thoughts) * model.text_price
        + usage.image * model.image_price
    )
    return -(-nanodollars // _NANODOLLARS_PER_MICRODOLLAR)
