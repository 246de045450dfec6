"""The backlog of the installation in figures: how much waits and runs at each provider, and how long that takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg

from safelight.db.statements import load
from safelight.domain.eta import Latency, Load, estimate
from safelight.engine.estimates.offers import Standing, standing_of
from safelight.engine.estimates.outlook import Lookout, Outlook, Own, waits_of
from safelight.engine.gates import GateState, gate_states, limits_of
from safelight.engine.image.provider_book import database_now
from safelight.engine.pause import Pause, paused

_SQL = load("forecast")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderBacklog:
    """`max_concurrency` is None for a provider that is not configured any more. `standing` is that of the worst of its
    gates. `waits` are how many images have waited of late, and for how long in all; `latency` is what its calls have
    taken, whatever the model. `load` is what is due."""

    provider: str
    queued: int
    active: int
    max_concurrency: int | None
    standing: Standing
    waits: tuple[int, float]
    latency: Latency | None
    load: Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    providers: Sequence[ProviderBacklog]
    pause: Pause | None


async def backlog_of(
    pool: asyncpg.Pool, lookout: Lookout, *, account: str | None = None, acquire_seconds: float
) -> Backlog:
    """Counts, gates and pause as they are now, over all accounts or of one, which hears nothing of the others; what
    calls have taken as the lookout has it. Walks all that waits, which takes some 60 ms for a hundred thousand images.
    """
    outlook = await lookout.look()
    own = await lookout.own(account) if account is not None else None
    async with pool.acquire(timeout=acquire_seconds) as conn:
        rows = await conn.fetch(_SQL.backlog, account)
        waits = outlook.waits if outlook is not None else {}
        if account is not None:
            waits = await waits_of(conn, list(lookout.limits), account=account)
        gates = await gate_states(conn)  # pyright: ignore[reportArgumentType]
        pause = await paused(conn)  # pyright: ignore[reportArgumentType]
        now = await database_now(conn)  # pyright: ignore[reportArgumentType]
    by_provider: dict[str, list[Mapping[str, Any]]] = {name: [] for name in lookout.limits}
    for row in rows:
        by_provider.setdefault(row["provider"], []).append(row)
    return Backlog(
        providers=[
            _shared(
                _provider(name, models, lookout, outlook, waits.get(name, (0, 0.0)), gates, pause, now),
                outlook,
                account,
                own,
            )
            for name, models in by_provider.items()
        ],
        pause=pause,
    )


def average_wait_seconds(providers: Collection[ProviderBacklog]) -> float | None:
    """Of the images whose first call was among the latest. None: there was none."""
    images = sum(each.waits[0] for each in providers)
    return sum(each.waits[1] for each in providers) / images if images else None


def processing_seconds(backlog: Backlog) -> float | None:
    """Until all that is due now has ended, as likely sooner as later. None: nobody can tell."""
    loads = [each.load for each in backlog.providers]
    if not any(load.running_seconds or load.waiting or load.later for load in loads):
        return 0.0
    eta = estimate(loads)
    return eta.p50_seconds if eta is not None else None


def _provider(
    name: str,
    models: Collection[Mapping[str, Any]],
    lookout: Lookout,
    outlook: Outlook | None,
    waits: tuple[int, float],
    gates: Collection[GateState],
    pause: Pause | None,
    now: datetime,
) -> ProviderBacklog:
    limits = lookout.limits.get(name)
    standings = [standing_of(gate) for gate in gates if gate.provider == name]
    worst: Standing = "shut" if "shut" in standings else "limited" if "limited" in standings else "open"
    shut = {gate.model for gate in gates if gate.provider == name and gate.is_shut}
    limited_until = limits_of(gates, name, {row["model"] for row in models if row["due"]})
    active = sum(row["active"] for row in models)
    return ProviderBacklog(
        provider=name,
        queued=sum(row["queued"] for row in models),
        active=active,
        max_concurrency=limits.max_concurrency if limits is not None else None,
        standing=worst,
        waits=waits,
        latency=outlook.latencies.get((name, None)) if outlook is not None else None,
        load=Load(
            latency=_mixed(name, models, outlook) if outlook is not None else None,
            concurrency=outlook.concurrency(name) if outlook is not None else 0,
            is_open=pause is None
            and None not in shut
            and not any(row["model"] in shut for row in models if row["due"]),
            running_seconds=[0.0] * active,
            waiting=sum(row["due"] for row in models),
            later=sum(row["awaiting"] for row in models),
            busy=active,
            starts_in_seconds=max([0.0, *((at - now).total_seconds() for at in limited_until)]),
            per_minute=limits.per_minute if limits is not None else None,
        ),
    )


def _shared(found: ProviderBacklog, outlook: Outlook | None, account: str | None, own: Own | None) -> ProviderBacklog:
    """Of one account: what it has to do takes as long as it does beside others, who have turns and are at work, too."""
    if account is None or outlook is None:
        return found
    if own is None:
        return replace(found, load=replace(found.load, ahead=None))
    others = outlook.others_before(found.provider, account, found.load.waiting, weight=own.weight)
    busy = max(found.active, outlook.busy.get(found.provider, 0))
    return replace(found, load=replace(found.load, ahead=others, busy=busy, cap=own.max_concurrency))


def _mixed(provider: str, models: Collection[Mapping[str, Any]], outlook: Outlook) -> Latency | None:
    """Of what is to be done, each model by its share. None where one of them has no history."""
    parts: dict[str, int] = defaultdict(int)
    for row in models:
        parts[row["model"]] += row["active"] + row["due"] + row["awaiting"]
    known = [(outlook.latencies.get((provider, model)), images) for model, images in parts.items() if images]
    total = sum(images for _, images in known)
    if not total or any(latency is None for latency, _ in known):
        return None
    return Latency(
        p50_seconds=sum(latency.p50_seconds * images for latency, images in known if latency is not None) / total,
        p90_seconds=sum(latency.p90_seconds * images for latency, images in known if latency is not None) / total,
    )
