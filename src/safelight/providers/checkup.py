"""Whether each configured provider could be bought from, found out without buying."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from safelight.domain.checkup import Check, Verdict
from safelight.domain.money import CostBasis
from safelight.net.reach import why_unreachable
from safelight.providers.provider import ImageProvider, ImageRequest, UnknownModel
from safelight.providers.registry import InvalidConfiguration, ProviderKind, load_provider_kinds

AREA = "providers"

_ASKED_MODEL_ANSWER = "Requests that name no model of their own are answered with 422."


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A provider as the operator configured it."""

    name: str
    kind: str
    model: str | None
    base_url: str | None
    api_key: str | None = field(repr=False)


async def provider_checks(accounts: Sequence[Account]) -> list[Check]:
    """Of every account: is its kind installed, its configuration complete, its model known, for sale and priced, and
    does its address take a connection. Nothing is sent to a vendor."""
    try:
        kinds = load_provider_kinds()
    except InvalidConfiguration as error:
        return [_problem("kinds", str(error), "No process can start.", "Remove or repair that package.")]
    found = await asyncio.gather(*(_examined(account, kinds) for account in accounts))
    return [check for checks in found for check in checks]


async def _examined(account: Account, kinds: Mapping[str, ProviderKind]) -> list[Check]:
    kind = kinds.get(account.kind)
    if kind is None:
        remedy = f"Install the package that brings it, or choose one of {', '.join(sorted(kinds))}."
        return [_problem(account.name, f"kind `{account.kind}` is not installed", "No process can start.", remedy)]
    try:
        provider = kind.from_config(account.name, api_key=account.api_key, base_url=account.base_url)
    except InvalidConfiguration as error:
        return [_problem(account.name, str(error), "No process can start.", "Put its settings right, or remove it.")]
    try:
        trouble = _trouble_with_model(account, provider)
    finally:
        await provider.aclose()
    address = account.base_url or getattr(kind, "default_base_url", None)
    why = await why_unreachable(address) if address else None
    if address and why:
        trouble.append(
            _problem(
                f"{account.name} address",
                f"{_host(address)} cannot be reached: {why}",
                "Calls fail before they are sent: they cost nothing, and images wait.",
                "Look at this machine's network and name service, and at `base_url`.",
            )
        )
    return trouble or [Check(area=AREA, name=account.name, verdict=Verdict.OK, found=_in_short(account, address))]


def _trouble_with_model(account: Account, provider: ImageProvider) -> list[Check]:
    if account.model is None:
        return []
    name, model = f"{account.name} model", account.model
    remedy = f"Set `model` of provider `{account.name}` to one that it has."
    try:
        retired_on = provider.capabilities(model).retired_on
        request = ImageRequest(model=model, prompt="A picture", attempt_key="doctor", timeout_seconds=1.0)
        basis = provider.estimate(request).basis
    except UnknownModel as error:
        return [_problem(name, str(error), _ASKED_MODEL_ANSWER, remedy)]
    if retired_on is not None:
        return [_problem(name, f"the vendor switched `{model}` off on {retired_on}", _ASKED_MODEL_ANSWER, remedy)]
    if basis is CostBasis.UNKNOWN:
        return [
            Check(
                area=AREA,
                name=name,
                verdict=Verdict.WARNING,
                found=f"`{model}` has no price",
                meaning="What it costs is booked as unknown where the vendor's answer does not say.",
                remedy="Choose a model with a known price where costs have to add up.",
            )
        ]
    return []


def _in_short(account: Account, address: str | None) -> str:
    model = f"model `{account.model}`" if account.model else "each request names its model"
    where = f", {_host(address)} takes connections" if address else ", needs no network"
    return f"kind `{account.kind}`, {model}{where}"


def _host(url: str) -> str:
    """Without user, password, path and query."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _problem(name: str, found: str, meaning: str, remedy: str) -> Check:
    return Check(area=AREA, name=name, verdict=Verdict.PROBLEM, found=found, meaning=meaning, remedy=remedy)
