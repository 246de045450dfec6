"""What can be asked of whom: the configured providers, their models, and how they stand just now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query

from safelight.api import schemas
from safelight.api.access import Reads, reach_of
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import problems
from safelight.api.schemas import Provider, ProviderGate, ProviderHealth, ProviderModel, Providers, SizeRule
from safelight.domain.money import format_usd
from safelight.engine.estimates.offers import Offer, gates_of, offers_of, standing_of
from safelight.engine.figures.health import Health, health_of
from safelight.engine.gates import GateState, gate_states
from safelight.engine.orders.catalog import ConfiguredProvider

NoQuery = Annotated[schemas.NoQuery, Query()]


def provider_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/providers", tags=["providers"])

    @router.get("", responses=problems(503))
    async def show_providers(caller: Reads, _: NoQuery) -> Providers:
        """Every configured provider, with its models, its gates and how it has answered of late: to the caller's
        account, or, for an admin's key, to all. No vendor is asked."""
        gates = await gate_states(deps.pool)
        health = await health_of(deps.pool, deps.catalog.providers, account=reach_of(caller))
        return Providers(
            default=deps.catalog.default,
            providers=[
                _provider(name, each, gates_of(name, gates), health[name])
                for name, each in deps.catalog.providers.items()
            ],
        )

    return router


def _provider(name: str, configured: ConfiguredProvider, gates: Sequence[GateState], health: Health) -> Provider:
    return Provider(
        name=name,
        kind=configured.kind,
        default_model=configured.model,
        max_concurrency=configured.max_concurrency,
        requests_per_minute=configured.requests_per_minute,
        models=[_model(offer) for offer in offers_of(configured.provider, default_model=configured.model)],
        gates=[_gate(gate) for gate in gates],
        health=_health(health),
    )


def _model(offer: Offer) -> ProviderModel:
    can, amount = offer.can, offer.estimate.microusd
    return ProviderModel(
        id=offer.model,
        retired_on=date.fromisoformat(can.retired_on) if can.retired_on is not None else None,
        estimate_usd=format_usd(amount) if amount is not None else None,
        aspect_ratios=_listed(can.aspect_ratios),
        sizes=_listed(can.sizes),
        size_rule=SizeRule(**asdict(can.size_rule)) if can.size_rule is not None else None,
        qualities=_listed(can.qualities),
        seed=can.seed,
        negative_prompt=can.negative_prompt,
        max_references=can.max_references,
        mask=can.mask,
        remote_job=can.remote_job,
        prompt_max_chars=can.prompt_max_chars,
        timeout_seconds=can.timeout_seconds,
    )


def _gate(gate: GateState) -> ProviderGate:
    return ProviderGate(
        model=gate.model,
        state=standing_of(gate),
        code=gate.code,
        message=gate.message,
        failures=gate.failures,
        since=gate.shut_at,
        probe_at=gate.probe_at,
        probing=gate.is_probing,
        limited_until=gate.limited_until,
    )


def _health(health: Health) -> ProviderHealth:
    calls = health.successes + health.failures
    return ProviderHealth(
        last_success_at=health.last_success_at,
        last_failure_at=health.last_failure_at,
        calls_last_hour=calls,
        success_rate=round(health.successes / calls, 4) if calls else None,
        median_seconds=round(health.median_seconds, 3) if health.median_seconds is not None else None,
    )


def _listed(values: frozenset[str] | None) -> list[str] | None:
    return sorted(values) if values is not None else None
