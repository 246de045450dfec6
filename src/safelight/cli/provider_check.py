"""`safelight providers check`: every question about an account, and on demand one picture that is paid for."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Coroutine
from dataclasses import asdict
from typing import Any, TypeVar

from safelight.cli.complaint import Complaint, read_settings
from safelight.cli.doctor import print_report
from safelight.cli.running import run
from safelight.domain.checkup import Check, Verdict, worst
from safelight.domain.errors import Billed
from safelight.domain.money import Cost, format_usd
from safelight.imaging.pool import RenderPool
from safelight.imaging.rendition import ChildDied, NotAnImage
from safelight.net.billable import CallNotSent
from safelight.providers.checkup import AREA, Account, account_checks
from safelight.providers.probe import buy_one
from safelight.providers.provider import ImageProvider, ImageRequest, ImageResult, ProviderError, Refusal
from safelight.providers.registry import installed_kinds, load_kind
from safelight.settings import Settings
from safelight.wiring.parts import config_of

_PROMPT = "A red apple on a white table, in plain daylight"

_T = TypeVar("_T")


def check(name: str | None, *, paid: bool, model: str | None, yes: bool, as_json: bool) -> int:
    """Exit code 1 when something is a problem, else 0. Raises Complaint for what cannot be meant, and for a purchase
    that nobody agrees to."""
    if (paid or model is not None) and name is None:
        raise Complaint("--paid and --model are for one provider: name it")
    accounts = _accounts(read_settings(), name, model)
    if paid and accounts[0].model is None:
        raise Complaint(f"provider `{name}` has no default model: --paid needs --model")
    checks = _result_of(_free_checks(accounts))
    probe = None
    if paid and worst(checks) is not Verdict.PROBLEM:
        estimate = _result_of(_estimate(accounts[0]))
        if not yes and estimate.microusd != 0:
            _ask(accounts[0], estimate)
        checked, probe = _result_of(_probe(accounts[0]))
        checks.append(checked)
    verdict = worst(checks)
    if as_json:
        checked = [asdict(each) for each in checks]
        print(json.dumps({"verdict": verdict, "checks": checked, "probe": probe}, indent=2))
    else:
        print_report(checks)
    return 1 if verdict is Verdict.PROBLEM else 0


def _accounts(settings: Settings, name: str | None, model: str | None) -> list[Account]:
    configured = settings.all_providers()
    if name is not None and name not in configured:
        known = ", ".join(f"`{each}`" for each in configured)
        raise Complaint(f"no provider `{name}` is configured; there are {known}")
    return [
        Account(name=each, kind=found.kind, model=model or found.model, config=config_of(settings, found))
        for each, found in configured.items()
        if name in (None, each)
    ]


async def _free_checks(accounts: list[Account]) -> list[Check]:
    found = await asyncio.gather(*(account_checks(account) for account in accounts))
    return [check for checks in found for check in checks]


# The paid picture


async def _estimate(account: Account) -> Cost:
    provider = _built(account)
    try:
        return provider.estimate(_request(account, provider))
    finally:
        await provider.aclose()


def _ask(account: Account, estimate: Cost) -> None:
    """On standard error, so that --json stays JSON. Raises Complaint unless a person says yes."""
    price = f"at most {_dollars(estimate)}" if estimate.microusd is not None else "an amount that is not known"
    print(f"One picture by {account.model} costs {price} of real money.", file=sys.stderr)
    print("Buy it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Complaint("nothing was bought; --yes buys without asking")


async def _probe(account: Account) -> tuple[Check, dict[str, Any]]:
    """What the purchase came to, for a person and for a program."""
    provider = _built(account)
    request = _request(account, provider)
    started = time.monotonic()
    try:
        answer: Any = await buy_one(provider, request)
    except (ProviderError, CallNotSent) as error:
        answer = error
    finally:
        await provider.aclose()
    document: dict[str, Any] = {"model": account.model, "seconds": round(time.monotonic() - started, 3)}
    match answer:
        case ImageResult():
            return await _looked_at(account, answer, document)
        case Refusal():
            why = f"the vendor refused a harmless prompt: {answer.code}: {answer.message}"
            return _no_picture(account, why, answer.cost, answer.billed, document)
        case ProviderError():
            why = f"{answer.kind} {answer.code}: {answer.message}"
            cost = None if answer.billed is Billed.UNKNOWN else answer.cost
            return _no_picture(account, why, cost, answer.billed, document)
        case _:
            return _no_picture(account, str(answer), None, Billed.NO, document)


async def _looked_at(account: Account, result: ImageResult, document: dict[str, Any]) -> tuple[Check, dict[str, Any]]:
    pool = RenderPool()
    try:
        picture = await pool.verify(result.data)
    except (NotAnImage, ChildDied) as error:
        return _no_picture(account, f"what came is no picture: {error}", result.cost, Billed.YES, document)
    finally:
        await pool.aclose()
    price = f"it cost {_dollars(result.cost)}" if result.cost.microusd is not None else "what it cost is not known"
    size = f"{picture.width_px} × {picture.height_px}"
    found = f"{size} {picture.mime}, {len(result.data)} bytes, after {document['seconds']:.1f} s; {price}"
    document |= {
        "width": picture.width_px,
        "height": picture.height_px,
        "mime": picture.mime,
        "bytes": len(result.data),
        **_priced(result.cost, Billed.YES),
    }
    return Check(area=AREA, name=f"{account.name} picture", verdict=Verdict.OK, found=found), document


def _no_picture(
    account: Account, why: str, cost: Cost | None, billed: Billed, document: dict[str, Any]
) -> tuple[Check, dict[str, Any]]:
    match billed:
        case Billed.NO:
            meaning = "It cost nothing."
        case Billed.YES if cost is not None and cost.microusd is not None:
            meaning = f"It cost {_dollars(cost)}."
        case Billed.YES:
            meaning = "It was charged, at a price that is not known."
        case Billed.UNKNOWN:
            meaning = "Whether it was charged is not known; the vendor's own bill says so."
    checked = Check(
        area=AREA,
        name=f"{account.name} picture",
        verdict=Verdict.PROBLEM,
        found=why,
        meaning=meaning,
        remedy="Jobs with this provider and model would fare the same.",
    )
    return checked, document | _priced(cost, billed)


def _priced(cost: Cost | None, billed: Billed) -> dict[str, Any]:
    amount = 0 if billed is Billed.NO else cost.microusd if cost is not None else None
    return {"cost_usd": format_usd(amount) if amount is not None else None, "billed": billed.value}


def _built(account: Account) -> ImageProvider:
    return load_kind(account.kind, installed_kinds()).from_config(account.name, account.config)


def _request(account: Account, provider: ImageProvider) -> ImageRequest:
    assert account.model is not None, "asked for above"
    return ImageRequest(
        model=account.model,
        prompt=_PROMPT,
        attempt_key=f"probe_{time.time_ns()}",
        timeout_seconds=provider.capabilities(account.model).timeout_seconds,
    )


def _dollars(cost: Cost) -> str:
    return f"${format_usd(cost.microusd or 0)}"


def _result_of(command: Coroutine[Any, Any, _T]) -> _T:
    """Runs it to its end, or until a person stops it."""
    results: list[_T] = []

    async def to_the_end() -> int:
        results.append(await command)
        return 0

    run(to_the_end())
    return results[0]
