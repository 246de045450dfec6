"""How image generation does, in figures for people: of one account, or of all.

What stands still, waits and runs is of this moment; all else is of jobs that were created within a window, told apart
by provider and by steps. As in the statistics all is counted when somebody asks, in one snapshot, from the rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import asyncpg

from safelight.db.statements import load
from safelight.domain.errors import Unavailable
from safelight.engine.estimates.offers import Standing, standing_of
from safelight.engine.gates import gate_states
from safelight.engine.upkeep.stuck import Bounds, suspects

Window = Literal["24h", "7d"]

STEPS: Mapping[Window, tuple[timedelta, int]] = {"24h": (timedelta(hours=1), 24), "7d": (timedelta(hours=6), 28)}
"""How long the steps of a window are, and how many; the last one is the one that this moment is in."""

_ENDS = ("completed", "failed", "refused", "canceled", "uncertain")

_SQL = load("vitals")
_PLANS = load("statistics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """Of a part of the jobs, or of all. `ended` are images by state. Money is in micro-USD; `uncertain_microusd` None:
    nothing bounds it. Seconds are of calls that brought a delivered picture; None: there was none."""

    ended: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(_ENDS, 0))
    cost_microusd: int = 0
    wasted_microusd: int = 0
    uncertain_microusd: int | None = 0
    average_seconds: float | None = None
    p90_seconds: float | None = None

    @property
    def success_rate(self) -> float | None:
        """Of what ended, the share that was completed; refusals and cancellations count neither way."""
        tried = sum(self.ended[status] for status in ("completed", "failed", "uncertain"))
        return self.ended["completed"] / tried if tried else None

    @property
    def refusal_rate(self) -> float | None:
        answered = sum(self.ended[status] for status in _ENDS if status != "canceled")
        return self.ended["refused"] / answered if answered else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """`series` has every step of the window, the oldest first. `providers` are those configured and all that were
    asked. `webhooks_failing` are endpoints, `webhook_failures` messages of 24 hours."""

    since: datetime
    until: datetime
    total: Vitals
    providers: Mapping[str, tuple[Standing, Vitals]]
    series: Sequence[tuple[datetime, Vitals]]
    open_jobs: int
    queued_images: int
    active_images: int
    stuck_jobs: int
    is_paused: bool
    webhook_failures: int
    webhooks_failing: int
    cost_today_microusd: int


async def chart(
    pool: asyncpg.Pool,
    *,
    account: str | None,
    window: Window,
    bounds: Bounds,
    lease_seconds: float,
    stuck_seconds: float,
    acquire_seconds: float,
) -> Chart:
    """`account` None: of all. Raises Unavailable when it is too much for the time that a statement is given."""
    try:
        async with (
            pool.acquire(timeout=acquire_seconds) as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            await conn.execute(_PLANS.plan_anew)
            stuck = await suspects(
                conn,  # pyright: ignore[reportArgumentType]
                bounds,
                lease_seconds=lease_seconds,
                for_seconds=stuck_seconds,
            )
            return await _read(conn, account, window, list(bounds.max_concurrency), {each.job_id for each in stuck})
    except asyncpg.QueryCanceledError as error:
        raise Unavailable("There is too much for one answer: ask for a shorter time.") from error


async def _read(conn: Any, account: str | None, window: Window, configured: Sequence[str], stuck: set[Any]) -> Chart:
    step, steps = STEPS[window]
    now = await conn.fetchrow(_SQL.now, step)
    since = now["step"] - step * (steps - 1)
    asked = (account, since, now["at"], step)
    images, calls = await conn.fetch(_SQL.images, *asked), await conn.fetch(_SQL.calls, *asked)
    parts: dict[str | datetime | None, dict[str, Any]] = {}
    for row in images:
        parts.setdefault(_part(row), {})["ended"] = {status: row[status] for status in _ENDS}
    for row in calls:
        names = ("cost_microusd", "wasted_microusd", "uncertain_microusd", "average_seconds", "p90_seconds")
        parts.setdefault(_part(row), {}).update({name: row[name] for name in names})
    found = {part: Vitals(**fields) for part, fields in parts.items()}
    gates = await gate_states(conn)
    providers = [*configured, *sorted(part for part in found if isinstance(part, str) and part not in configured)]
    standings = {name: {standing_of(gate) for gate in gates if gate.provider == name} for name in providers}
    work = await conn.fetchrow(_SQL.open_work, account)
    webhooks = await conn.fetchrow(_SQL.webhooks, account)
    return Chart(
        since=since,
        until=now["at"],
        total=found.get(None, Vitals()),
        providers={name: (_worst(standings[name]), found.get(name, Vitals())) for name in providers},
        series=[(at, found.get(at, Vitals())) for at in (since + step * n for n in range(steps))],
        open_jobs=work["jobs"],
        queued_images=work["queued"],
        active_images=work["active"],
        stuck_jobs=await conn.fetchval(_SQL.jobs_of, account, list(stuck)),
        is_paused=work["is_paused"],
        webhook_failures=webhooks["given_up"],
        webhooks_failing=webhooks["failing"],
        cost_today_microusd=await conn.fetchval(_SQL.cost_today, account),
    )


def _part(row: asyncpg.Record) -> str | datetime | None:
    """A provider, the beginning of a step, or None for all."""
    if row["has_provider"]:
        return row["provider"]
    return row["at"] if row["has_time"] else None


def _worst(standings: Collection[str]) -> Standing:
    return "shut" if "shut" in standings else "limited" if "limited" in standings else "open"
