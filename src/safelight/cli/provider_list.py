"""`safelight providers list`: what is configured, what it offers, and how its gates stand where a database answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from safelight.cli.complaint import read_settings
from safelight.cli.jobs import print_json
from safelight.cli.running import run
from safelight.db.embedded import running_dsn
from safelight.db.pool import CONNECTION_LOST, connect
from safelight.domain.money import format_usd
from safelight.engine.estimates.offers import Offer, gates_of, offers_of, standing_of
from safelight.engine.gates import GateState, gate_states
from safelight.providers.registry import InvalidConfiguration, installed_kinds, load_kind
from safelight.settings import ProviderSettings, Settings
from safelight.wiring.parts import config_of

_UNANSWERED = (asyncpg.PostgresError, TimeoutError, ValueError, OverflowError, *CONNECTION_LOST)


def list_providers(*, as_json: bool) -> int:
    settings = read_settings()

    async def command() -> int:
        gates = await _gates(settings)
        found = [await _described(settings, name, each, gates) for name, each in settings.all_providers().items()]
        if as_json:
            print_json({"default": settings.chosen_provider(), "providers": found})
        else:
            _print(found, default=settings.chosen_provider())
        return 0

    return run(command())


async def _gates(settings: Settings) -> list[GateState] | None:
    """None without a database that answers: this command starts none."""
    try:
        dsn = settings.database_url or running_dsn(settings.home)
        if dsn is None:
            return None
        conn = await connect(dsn, application_name="safelight providers", timeout_seconds=5)
    except (OSError, *_UNANSWERED):
        return None
    try:
        return await gate_states(conn)
    except _UNANSWERED:
        return None
    finally:
        conn.terminate()


async def _described(
    settings: Settings, name: str, each: ProviderSettings, gates: Sequence[GateState] | None
) -> dict[str, Any]:
    """What is shown of a provider: never its key."""
    problem, offers = None, []
    try:
        provider = load_kind(each.kind, installed_kinds()).from_config(name, config_of(settings, each))
    except InvalidConfiguration as error:
        problem = str(error)
    else:
        offers = offers_of(provider, default_model=each.model)
        await provider.aclose()
    return {
        "name": name,
        "kind": each.kind,
        "default_model": each.model,
        "max_concurrency": each.max_concurrency,
        "requests_per_minute": each.requests_per_minute,
        "has_key": settings.key_of(each) is not None,
        "problem": problem,
        "models": [_model(offer) for offer in offers],
        "gates": [_gate(gate) for gate in gates_of(name, gates)] if gates is not None else None,
    }


def _model(offer: Offer) -> dict[str, Any]:
    amount = offer.estimate.microusd
    return {
        "id": offer.model,
        "estimate_usd": format_usd(amount) if amount is not None else None,
        "retired_on": offer.can.retired_on,
    }


def _gate(gate: GateState) -> dict[str, Any]:
    return {
        "model": gate.model,
        "state": standing_of(gate),
        "code": gate.code,
        "failures": gate.failures,
        "since": _moment(gate.shut_at),
        "probe_at": _moment(gate.probe_at),
        "limited_until": _moment(gate.limited_until),
    }


def _print(found: Sequence[Mapping[str, Any]], *, default: str | None) -> None:
    console = Console(markup=False, highlight=False)
    for each in found:
        console.print(f"{each['name']}{' (default)' if each['name'] == default else ''}", style="bold", end="")
        console.print(f" · {_in_short(each)}", soft_wrap=True)
        if each["problem"]:
            console.print(f"  {each['problem']}", style="bold red", soft_wrap=True)
        for gate in each["gates"] or ():
            console.print(f"  {_gate_line(gate)}", style="yellow", soft_wrap=True)
        models = Table.grid(padding=(0, 2))
        for model in each["models"]:
            models.add_row(model["id"], _price(model))
        console.print(Padding(models, (0, 0, 0, 2), expand=False))
    if any(each["gates"] is None for each in found):
        console.print("no database answers, so whether the gates are open is not shown", style="dim", soft_wrap=True)


def _in_short(each: Mapping[str, Any]) -> str:
    words = [
        f"kind {each['kind']}",
        f"default model {each['default_model']}" if each["default_model"] else "no default model",
        f"{each['max_concurrency']} calls at once",
        *([f"{each['requests_per_minute']} a minute"] if each["requests_per_minute"] else []),
        "key is set" if each["has_key"] else "no key",
        *(["gates open"] if each["gates"] == [] else []),
    ]
    return " · ".join(words)


def _gate_line(gate: Mapping[str, Any]) -> str:
    whose = gate["model"] or "every model"
    match gate["state"]:
        case "shut":
            return f"shut for {whose} since {gate['since']} ({gate['code']}), next try {gate['probe_at']}"
        case "limited":
            return f"limited for {whose} until {gate['limited_until']}"
        case _:
            return f"open for {whose}, {gate['failures']} failures in a row ({gate['code']})"


def _price(model: Mapping[str, Any]) -> str:
    if model["retired_on"]:
        return f"switched off on {model['retired_on']}"
    if model["estimate_usd"] is None:
        return "price unknown"
    if model["estimate_usd"] == format_usd(0):
        return "free"
    return f"at most ${model['estimate_usd']} a picture"


def _moment(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="seconds") if at is not None else None
