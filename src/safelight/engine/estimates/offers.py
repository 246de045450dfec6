"""What the configured providers have to offer: their models, what these can do and cost, and how their gates stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from safelight.domain.money import UNKNOWN_COST, Cost
from safelight.engine.gates import GateState
from safelight.providers.provider import Capabilities, ImageProvider, ImageRequest, UnknownModel

Standing = Literal["open", "shut", "limited"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model of a provider. `estimate` is of one picture without options and next to no prompt; it is unknown for a
    model that is retired."""

    model: str
    can: Capabilities
    estimate: Cost


def offers_of(provider: ImageProvider, *, default_model: str | None) -> list[Offer]:
    """Every model that the provider lists, and the default one if it knows that besides."""
    models = list(provider.models())
    if default_model is not None and default_model not in models:
        models.append(default_model)
    offers: list[Offer] = []
    for model in models:
        try:
            can = provider.capabilities(model)
        except UnknownModel:
            continue
        offers.append(Offer(model=model, can=can, estimate=_estimate(provider, model, can)))
    return offers


def standing_of(gate: GateState) -> Standing:
    """`limited`: calls wait for `limited_until`. An open gate may have failures counted against it."""
    if gate.is_shut:
        return "shut"
    return "limited" if gate.limited_until is not None else "open"


def gates_of(provider: str, gates: Iterable[GateState]) -> list[GateState]:
    """Those of one provider, the whole account's first."""
    return sorted((gate for gate in gates if gate.provider == provider), key=lambda gate: gate.model or "")


def _estimate(provider: ImageProvider, model: str, can: Capabilities) -> Cost:
    if can.retired_on is not None:
        return UNKNOWN_COST
    request = ImageRequest(model=model, prompt="", attempt_key="offer", timeout_seconds=can.timeout_seconds)
    return provider.estimate(request)
