"""What one answer cost, to the micro-dollar, from the vendor's own usage figures.

Sources in order: `genai-prices` where it knows the model, the token prices of our model data, the model
data's price per picture when a picture came without usable usage, and then `unknown`. `genai-prices` is asked
for the data in its wheel only; its updater is what would go to the network, and it is never started.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import genai_prices

from safelight.domain.money import UNKNOWN_COST, Cost, CostBasis, microusd
from safelight.providers.models import Model, ModelTable, Price

GENAI_PRICES_REF = f"genai-prices {genai_prices.__version__}"


def gemini_cost(usage: Mapping[str, Any], *, model: Model, table: ModelTable, has_image: bool) -> Cost:
    """`usage` is a `usageMetadata` as on the wire, or empty. Without a split by modality, all output but the
    thoughts is taken for image: text is up to twenty times cheaper, and a missing field must not make a
    picture look like text."""
    counts = _with_modalities(usage)
    is_complete = bool(counts.get("candidatesTokenCount")) or not has_image
    if is_complete and has_charge(counts):
        if usd := _from_genai_prices(model.id, counts):
            return Cost(microusd(usd), CostBasis.USAGE, GENAI_PRICES_REF)
        if model.price is not None and (usd := _from_rates(counts, model.price)):
            return Cost(microusd(usd), CostBasis.USAGE, table.price_ref)
    if has_image and model.price is not None:
        return Cost(microusd(model.price.image_usd), CostBasis.TABLE, table.price_ref)
    return UNKNOWN_COST


def has_charge(usage: Mapping[str, Any]) -> bool:
    """Whether the vendor counted any token, which is when it charges."""
    fields = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount")
    return any(usage.get(name) for name in fields)


def estimated_cost(prompt: str, *, model: Model, table: ModelTable) -> Cost:
    """An upper bound for one picture of the default size: a token is never shorter than one byte of the
    prompt."""
    if model.price is None:
        return UNKNOWN_COST
    usd = model.price.image_usd + len(prompt.encode()) * model.price.input_token_usd
    return Cost(microusd(usd), CostBasis.ESTIMATE, table.price_ref)


def _with_modalities(usage: Mapping[str, Any]) -> dict[str, Any]:
    counts = dict(usage)
    output = counts.get("candidatesTokenCount")
    if output and not counts.get("candidatesTokensDetails"):
        counts["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": output}]
    return counts


def _from_genai_prices(model_id: str, counts: Mapping[str, Any]) -> Decimal | None:
    # Priced by the id that was asked for: the answer's `modelVersion` may be one that no price list knows
    # yet.
    answer = {"modelVersion": model_id, "usageMetadata": counts}
    try:
        return genai_prices.extract_usage(answer, provider_id="google").calc_price().total_price
    except (LookupError, ValueError):  # no such model; figures that are missing or contradict each other
        return None


def _from_rates(counts: Mapping[str, Any], price: Price) -> Decimal | None:
    output = counts.get("candidatesTokenCount") or 0
    split = counts.get("candidatesTokensDetails") or ()
    image = sum(part.get("tokenCount") or 0 for part in split if part.get("modality") == "IMAGE")
    if image > output:
        return None
    text = output - image + (counts.get("thoughtsTokenCount") or 0)
    prompt = counts.get("promptTokenCount") or 0
    return prompt * price.input_token_usd + text * price.text_token_usd + image * price.image_token_usd
