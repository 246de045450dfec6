"""Whether each configured provider could be bought from, found out without buying."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

from safelight.domain.checkup import Check, Verdict
from safelight.domain.money import Cost, CostBasis, format_usd
from safelight.net.reach import why_unreachable
from safelight.providers.key_check import KeyNotChecked
from safelight.providers.provider import ImageProvider, ImageRequest, UnknownModel
from safelight.providers.registry import InvalidConfiguration, ProviderConfig, installed_kinds, load_kind

AREA = "providers"

_ASKED_MODEL_ANSWER = "Requests that name no model of their own are answered with 422."


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A provider as the operator configured it."""

    name: str
    kind: str
    model: str | None
    config: ProviderConfig = field(repr=False)


@runtime_checkable
class KeyCheckable(Protocol):
    """A provider whose vendor tells for free whether it takes the key."""

    async def check_key(self) -> str | None:
        """What the vendor says against the key; None when it takes it. Raises KeyNotChecked."""
        ...


async def provider_checks(accounts: Sequence[Account]) -> list[Check]:
    """Of every account: is its kind installed, its configuration complete, its model known, for sale and priced, and
    does its address take a connection. Nothing is sent to a vendor."""
    try:
        kinds = installed_kinds()
    except InvalidConfiguration as error:
        return [_problem("kinds", str(error), "No process can start.", "Remove or repair that package.")]
    found = await asyncio.gather(*(_examined(account, kinds) for account in accounts))
    return [check for checks in found for check in checks]


async def account_checks(account: Account) -> list[Check]:
    """Each question about one account with its answer. The vendor is asked as well, for free, whether it takes the
    key."""
    try:
        built = _built(account, installed_kinds())
    except InvalidConfiguration as error:
        return [_problem("kinds", str(error), "No process can start.", "Remove or repair that package.")]
    if isinstance(built, Check):
        return [built]
    provider, address = built
    try:
        unreachable = await _trouble_with_address(account, address)
        checks = [*unreachable]
        if address and not unreachable:
            checks.append(_fine(f"{account.name} address", f"{_host(address)} takes connections"))
        if account.config.api_key and not unreachable:
            checks.append(await _key_check(account, provider))
        return [*checks, *(_trouble_with_model(account, provider) or [_model_for_sale(account, provider)])]
    finally:
        await provider.aclose()


async def _examined(account: Account, kinds: Mapping[str, EntryPoint]) -> list[Check]:
    built = _built(account, kinds)
    if isinstance(built, Check):
        return [built]
    provider, address = built
    try:
        trouble = [*_trouble_with_model(account, provider), *await _trouble_with_address(account, address)]
    finally:
        await provider.aclose()
    return trouble or [_fine(account.name, _in_short(account, address))]


def _built(account: Account, kinds: Mapping[str, EntryPoint]) -> tuple[ImageProvider, str | None] | Check:
    """The provider and its address, if it has one; or what keeps it from being built."""
    if account.kind not in kinds:
        remedy = f"Install the package that brings it, or choose one of {', '.join(sorted(kinds))}."
        return _problem(account.name, f"kind `{account.kind}` is not installed", "No process can start.", remedy)
    try:
        kind = load_kind(account.kind, kinds)
        provider = kind.from_config(account.name, account.config)
    except InvalidConfiguration as error:
        return _problem(account.name, str(error), "No process can start.", "Put its settings right, or remove it.")
    return provider, account.config.base_url or getattr(kind, "default_base_url", None)


async def _trouble_with_address(account: Account, address: str | None) -> list[Check]:
    why = await why_unreachable(address) if address else None
    if not address or not why:
        return []
    return [
        _problem(
            f"{account.name} address",
            f"{_host(address)} cannot be reached: {why}",
            "Calls fail before they are sent: they cost nothing, and images wait.",
            "Look at this machine's network and name service, and at `base_url`.",
        )
    ]


async def _key_check(account: Account, provider: ImageProvider) -> Check:
    name = f"{account.name} key"
    if not isinstance(provider, KeyCheckable):
        return _fine(name, "is set; only a paid call can tell whether the vendor takes it")
    try:
        why = await provider.check_key()
    except KeyNotChecked as error:
        return Check(
            area=AREA,
            name=name,
            verdict=Verdict.WARNING,
            found=f"is set, and could not be checked: {error}",
            meaning="It may be good or not.",
            remedy=f"Try again, or buy one picture: `safelight providers check {account.name} --paid`.",
        )
    if why is not None:
        remedy = f"Set the key of provider `{account.name}` to one that is valid, and start Safelight again."
        return _problem(name, why, "No call is answered with a picture; none costs anything.", remedy)
    return _fine(name, "the vendor takes it")


def _trouble_with_model(account: Account, provider: ImageProvider) -> list[Check]:
    if account.model is None:
        return []
    name, model = f"{account.name} model", account.model
    remedy = f"Set `model` of provider `{account.name}` to one that it has."
    try:
        retired_on = provider.capabilities(model).retired_on
        basis = _estimate(model, provider).basis
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


def _model_for_sale(account: Account, provider: ImageProvider) -> Check:
    if account.model is None:
        return _fine(f"{account.name} model", "each request names its model")
    amount = _estimate(account.model, provider).microusd
    price = f"at most ${format_usd(amount)} a picture" if amount else "a picture costs nothing"
    return _fine(f"{account.name} model", f"`{account.model}`, {price}")


def _estimate(model: str, provider: ImageProvider) -> Cost:
    return provider.estimate(ImageRequest(model=model, prompt="", attempt_key="checkup", timeout_seconds=1.0))


def _in_short(account: Account, address: str | None) -> str:
    model = f"model `{account.model}`" if account.model else "each request names its model"
    where = f", {_host(address)} takes connections" if address else ", needs no network"
    return f"kind `{account.kind}`, {model}{where}"


def _host(url: str) -> str:
    """Without user, password, path and query."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _fine(name: str, found: str) -> Check:
    return Check(area=AREA, name=name, verdict=Verdict.OK, found=found)


def _problem(name: str, found: str, meaning: str, remedy: str) -> Check:
    return Check(area=AREA, name=name, verdict=Verdict.PROBLEM, found=found, meaning=meaning, remedy=remedy)
