"""What one answer cost, to the micro-dollar, from the vendor's own figures.

For a vendor that counts tokens, the sources are, in order: `genai-prices` where it knows the model, the token prices of
our model data, the model data's price per picture when a picture came without usable usage, and then `unknown`.
`genai-prices` is asked for the data in its wheel only; its updater is what would go to the network, and it is never
started. A vendor that charges by the picture, its size or the time it took is priced by our model data alone.

A model that the operator describes is priced as he describes it and by nothing else. A price that nobody wrote down is
`unknown`, never 0; only a price that was written down as 0 is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import genai_prices

from safelight.domain.money import MOST_USD, UNKNOWN_COST, Cost, CostBasis, microusd
from safelight.providers.models import Model, ModelTable, Price
from safelight.providers.provider import ImageRequest, InputRole

GENAI_PRICES_REF = f"genai-prices {genai_prices.__version__}"

MEGAPIXEL = 1_000_000


# Vendors that count tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    """What a vendor counted; `text` is everything that came out and is no image."""

    input: int
    image_input: int
    text: int
    image: int


def gemini_cost(usage: Mapping[str, Any], *, model: Model, table: ModelTable, has_image: bool) -> Cost:
    """`usage` is a `usageMetadata` as on the wire, or empty. Without a split by modality, or with one in which the
    picture is not, all output but the thoughts is taken for image: text is up to twenty times cheaper, and a missing
    field must not make a picture look like text."""
    output = usage.get("candidatesTokenCount")
    counts = dict(usage)
    split = counts.get("candidatesTokensDetails")
    if output and (not split or (has_image and not _image_tokens(split))):
        counts["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": output}]
    # Priced by the id that was asked for: the answer's `modelVersion` may be one that no price list knows
    # yet.
    answer = {"modelVersion": model.id, "usageMetadata": counts}
    is_usable = has_charge(usage) and bool(output or not has_image)
    usd = _from_genai_prices(answer, model, provider_id="google", api_flavor="default") if is_usable else None
    return _cost(usd, _gemini_tokens(counts) if is_usable else None, model=model, table=table, has_image=has_image)


def openai_cost(
    usage: Mapping[str, Any],
    *,
    model: Model,
    table: ModelTable,
    has_image: bool,
    has_references: bool = False,
    size: str | None = None,
) -> Cost:
    """`usage` is that of an images answer as on the wire, or empty. Output that is not said to be text is taken for
    image, and input that is not said to be text for the references' pixels, if there were any: the dearer reading.

    `size` is the picture's `WIDTHxHEIGHT`, for a server that charges by it."""
    tokens = _openai_tokens(usage, has_references=has_references)
    if tokens is None or (has_image and not tokens.image):
        return _cost(None, None, model=model, table=table, has_image=has_image, size=size)
    answer = {
        "model": model.id,
        "usage": {
            "input_tokens": tokens.input + tokens.image_input,
            "input_tokens_details": {"text_tokens": tokens.input, "image_tokens": tokens.image_input},
            "output_tokens": tokens.text + tokens.image,
            "output_tokens_details": {"text_tokens": tokens.text, "image_tokens": tokens.image},
        },
    }
    usd = _from_genai_prices(answer, model, provider_id="openai", api_flavor="images")
    return _cost(usd, tokens, model=model, table=table, has_image=has_image, size=size)


def has_charge(usage: Mapping[str, Any]) -> bool:
    """Whether the vendor counted any token, which is when it charges. `usage` as on Gemini's or OpenAI's wire."""
    return any(_count(usage.get(name)) for name in _COUNTS)


def estimated_cost(request: ImageRequest, *, model: Model, table: ModelTable) -> Cost:
    """An upper bound for the call at a vendor that counts tokens; `table_estimate` for a model without their prices.

    A token of the prompt is never shorter than one byte. The picture is `image_usd`, or what the model data expects of
    the quality that is asked for (of the dearest, when none is); tokens grow with the pixels, and no faster.
    """
    rates = model.price.tokens if model.price is not None else None
    picture_usd = _expected_usd(request, model)
    if rates is None or picture_usd is None:
        return table_estimate(request, model=model, table=table)
    usd = picture_usd + len(request.prompt.encode()) * rates.input
    return Cost(microusd(usd), CostBasis.ESTIMATE, table.price_ref_of(model))


def _expected_usd(request: ImageRequest, model: Model) -> Decimal | None:
    """All but the prompt."""
    expected, price = model.expected_tokens, model.price
    references = sum(given.role is InputRole.REFERENCE for given in request.inputs)
    if price is None or price.tokens is None:
        return price.image_usd if price is not None else None
    if expected is None:
        reference_usd = references * model.reference_tokens * price.tokens.image_input
        return price.image_usd + reference_usd if price.image_usd is not None else None
    image = expected.by_quality.get(request.quality or "") or max(expected.by_quality.values())
    times = max(Decimal(1), Decimal(requested_pixels(request, model) or 0) / expected.pixels)
    usd = (image * times + expected.planning) * price.tokens.image
    return usd + references * expected.per_reference * price.tokens.image_input


# Vendors that charge by the picture, its size or their time


def table_cost(
    model: Model,
    table: ModelTable,
    *,
    width_px: int | None = None,
    height_px: int | None = None,
    seconds: Decimal | float | None = None,
    units: Decimal | float | None = None,
) -> Cost:
    """What one picture cost by the model data's flat prices.

    What is known of the answer: `units` and `seconds` are what the vendor itself counted, the pixels those of the
    picture. The first of `unit_usd`, `second_usd`, `megapixel_usd` (per started million of pixels) that the model has
    and whose measure is known and not 0 counts, then `image_usd`, then `unknown`. The basis is `usage` for what the
    vendor counted, else `table`.
    """
    price = model.price or Price()
    pixels = width_px * height_px if width_px is not None and height_px is not None else None
    measured = (
        (price.unit_usd, _counted(units), CostBasis.USAGE),
        (price.second_usd, _counted(seconds), CostBasis.USAGE),
        (price.megapixel_usd, _started_megapixels(pixels), CostBasis.TABLE),
        (price.image_usd, Decimal(1), CostBasis.TABLE),
    )
    for usd, measure, basis in measured:
        if usd is not None and measure is not None and usd * measure <= MOST_USD:
            return Cost(microusd(usd * measure), basis, table.price_ref_of(model))
    return UNKNOWN_COST


def table_estimate(request: ImageRequest, *, model: Model, table: ModelTable) -> Cost:
    """What `table_cost` will come to, before the call: by the pixels that are asked for where those make the price,
    else the model data's `image_usd`, which is to be an upper bound where the vendor's price varies."""
    price = model.price or Price()
    pixels = requested_pixels(request, model)
    megapixels = _started_megapixels(pixels)
    if price.unit_usd is None and price.second_usd is None and price.megapixel_usd is not None and megapixels:
        return Cost(microusd(price.megapixel_usd * megapixels), CostBasis.ESTIMATE, table.price_ref_of(model))
    if price.image_usd is not None:
        return Cost(microusd(price.image_usd), CostBasis.ESTIMATE, table.price_ref_of(model))
    return UNKNOWN_COST


def requested_size(request: ImageRequest, model: Model) -> str | None:
    """The size that is asked for, or that the model data has for the ratio. None when the vendor chooses it."""
    return request.size or model.sizes_by_ratio.get(request.aspect_ratio or "")


def requested_pixels(request: ImageRequest, model: Model) -> int | None:
    """Of the `requested_size`."""
    width_px, height_px = _sides(requested_size(request, model))
    return width_px * height_px if width_px is not None and height_px is not None else None


def _sides(size: str | None) -> tuple[int, int] | tuple[None, None]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", size or "", re.ASCII)
    return (int(match[1]), int(match[2])) if match else (None, None)


def _counted(measure: Decimal | float | None) -> Decimal | None:
    """Exactly as it was written; None for one that cannot be a count."""
    exact = Decimal(str(measure)) if measure is not None else None
    return exact if exact is not None and exact.is_finite() and exact > 0 else None


def _started_megapixels(pixels: int | None) -> Decimal | None:
    return Decimal(-(-pixels // MEGAPIXEL)) if pixels is not None and pixels > 0 else None


# Tokens


_COUNTS = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "totalTokenCount",
    "input_tokens",
    "output_tokens",
    "total_tokens",
)


def _cost(
    usd: Decimal | None,
    tokens: _Tokens | None,
    *,
    model: Model,
    table: ModelTable,
    has_image: bool,
    size: str | None = None,
) -> Cost:
    """`usd` is what a price list says; without it, `tokens` are priced by the model data."""
    if usd is not None and usd <= MOST_USD:
        return Cost(microusd(usd), CostBasis.USAGE, GENAI_PRICES_REF)
    rates = model.price.tokens if model.price is not None else None
    if tokens is not None and rates is not None:
        usd = tokens.input * rates.input + tokens.image_input * rates.image_input
        usd += tokens.text * rates.text + tokens.image * rates.image
        if usd <= MOST_USD:
            return Cost(microusd(usd), CostBasis.USAGE, table.price_ref_of(model))
    width_px, height_px = _sides(size)
    return table_cost(model, table, width_px=width_px, height_px=height_px) if has_image else UNKNOWN_COST


def _from_genai_prices(answer: Mapping[str, Any], model: Model, *, provider_id: str, api_flavor: str) -> Decimal | None:
    if model.is_own:
        return None
    try:
        usd = (
            genai_prices.extract_usage(answer, provider_id=provider_id, api_flavor=api_flavor).calc_price().total_price
        )
    except (LookupError, ValueError):  # no such model; figures that are missing or contradict each other
        return None
    return usd or None  # no vendor's tokens are free: 0 is a price that the list does not have


def _gemini_tokens(counts: Mapping[str, Any]) -> _Tokens | None:
    """None when they contradict each other, or when only a sum is given."""
    output = _count(counts.get("candidatesTokenCount"))
    image = _image_tokens(counts.get("candidatesTokensDetails") or ())
    if image > output:
        return None
    text = output - image + _count(counts.get("thoughtsTokenCount"))
    prompt = _count(counts.get("promptTokenCount"))
    return _Tokens(input=prompt, image_input=0, text=text, image=image) if prompt or text or image else None


def _image_tokens(split: Iterable[Mapping[str, Any]]) -> int:
    return sum(_count(part.get("tokenCount")) for part in split if part.get("modality") == "IMAGE")


def _openai_tokens(usage: Mapping[str, Any], *, has_references: bool) -> _Tokens | None:
    """None when they contradict each other, or when only a sum is given."""
    given, made = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    given_split, made_split = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    text = _count(made_split.get("text_tokens")) if isinstance(made_split, Mapping) else 0
    prompt = given if not has_references else 0
    if isinstance(given_split, Mapping):
        pixels = _count(given_split.get("image_tokens"))
        prompt = _count(given_split.get("text_tokens")) if has_references else given - pixels
    if not 0 <= prompt <= given or text > made or not (given or made):
        return None
    return _Tokens(input=prompt, image_input=given - prompt, text=text, image=made - text)


def _count(tokens: object) -> int:
    if isinstance(tokens, float) and tokens.is_integer():
        tokens = int(tokens)
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) and tokens > 0 else 0
