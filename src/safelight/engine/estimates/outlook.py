"""What lies before the images that wait: how much of their own account is ahead of them, who else has turns, how long
calls have taken of late, what is shut.

Looked up once for many polls, and some seconds old by then: a forecast needs no more, and nothing is decided by it.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any

import asyncpg
import structlog

from safelight.db.pool import TRANSIENT
from safelight.db.statements import load
from safelight.domain.eta import Latency
from safelight.engine.gates import GateState, gate_states
from safelight.engine.pause import Pause, paused

MAX_AHEAD = 10_000
"""Nobody counts further. Chosen."""

MAX_OF_OTHERS = 500
"""Images of one account and priority that are counted for a model, for the forecasts of others: one that has more is
taken to have any number. Chosen."""

MAX_ACCOUNTS = 256
"""Of each model that are counted for the forecasts of others. Chosen."""

MAX_CALLS = 500
"""Of each provider, the newest: so many are looked at. Chosen."""

_MAX_KNOWN = 1000
"""Accounts whose lines are remembered. Chosen."""

Place = tuple[int, datetime, str]
"""Where a job's images stand in the order of work: its priority, since when they are due, its id."""

_SQL = load("forecast")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a provider allows at most: calls at a time, and calls a minute (None: any number)."""

    max_concurrency: int
    per_minute: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What waits of one account for one provider, in order, as far as anybody counts; `before[n]` images stand before
    the nth place. Those of a model that is shut are passed over, and so are not in it."""

    places: Sequence[Place] = ()
    before: Sequence[int] = (0,)

    def ahead_of(self, place: Place) -> int | None:
        """Images that go first. None: more than anybody counts."""
        ahead = self.before[bisect_left(self.places, place)]
        return ahead if ahead < MAX_AHEAD else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What one account is owed, and how it stands in line, by provider."""

    lines: Mapping[str, Line]
    weight: int = 1
    max_concurrency: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many images of an account wait for a provider, and its weight there."""

    images: int
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """`latencies` are by provider and model; None stands for all of its models. `waits` is of each provider how many
    images have waited of late and for how many seconds in all."""

    latencies: Mapping[tuple[str, str | None], Latency]
    waits: Mapping[str, tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Of the whole installation. A provider that is in no mapping has nothing of the kind. `crowd` is who waits, by
    provider and account."""

    limits: Mapping[str, Limits]
    latencies: Mapping[tuple[str, str | None], Latency]
    waits: Mapping[str, tuple[int, float]]
    crowd: Mapping[str, Mapping[str, Waiting]]
    busy: Mapping[str, int]
    slots: Mapping[str, int]
    gates: Collection[GateState]
    pause: Pause | None

    def concurrency(self, provider: str) -> int:
        """How many of its images run at a time; 0 when no live worker serves it, or it is not configured any more."""
        limits = self.limits.get(provider)
        return min(limits.max_concurrency, self.slots.get(provider, 0)) if limits else 0

    def others_before(self, provider: str, account: str, images: int, *, weight: int) -> int:
        """How many images of other accounts are begun until so many of this one are: each has its turns by its weight,
        for as long as it has images."""
        return sum(
            share if each.images >= MAX_OF_OTHERS else min(each.images, share)
            for name, each in self.crowd.get(provider, {}).items()
            if name != account and (share := images * each.weight // weight)
        )

    def is_shut(self, provider: str, model: str) -> bool:
        return any(gate.is_shut and gate.provider == provider and gate.model in (None, model) for gate in self.gates)


class Lookout:
    """Keeps an outlook for everybody who asks, `traffic_seconds` old at most; what calls have taken, `history_seconds`.

    A database that does not answer in time leaves everybody with what was known before, or without.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        limits: Mapping[str, Limits],
        *,
        lease_seconds: float,
        acquire_seconds: float,
        traffic_seconds: float,
        history_seconds: float,
    ) -> None:
        self._pool = pool
        self.limits = limits
        self._lease_seconds = lease_seconds
        self._acquire_seconds = acquire_seconds
        self._traffic_seconds = traffic_seconds
        self._history_seconds = history_seconds
        self._lock = asyncio.Lock()
        self._outlook: Outlook | None = None
        self._history: History | None = None
        self._good_until = self._history_good_until = float("-inf")
        self._own: dict[str, tuple[float, Own]] = {}
        self._own_lock = asyncio.Lock()

    async def look(self) -> Outlook | None:
        """None where nothing is known. However many ask at a time, one looks; the others take what there is."""
        if time.monotonic() < self._good_until or (self._outlook is not None and self._lock.locked()):
            return self._outlook
        async with self._lock:
            if time.monotonic() >= self._good_until:
                try:
                    self._outlook = await self._read()
                except TRANSIENT as error:
                    log.warning("no outlook on the backlog", error=type(error).__name__)
                self._good_until = time.monotonic() + self._traffic_seconds
        return self._outlook

    async def own(self, account: str) -> Own | None:
        """How the account stands in line; None where nothing is known."""
        if (known := self._own_now(account)) is not None:
            return known
        async with self._own_lock:
            if (known := self._own_now(account)) is not None:
                return known
            if len(self._own) >= _MAX_KNOWN:
                self._own.clear()
            try:
                own = await self._read_own(account)
            except TRANSIENT as error:
                log.warning("no outlook on an account's line", error=type(error).__name__)
                return None
            self._own[account] = (time.monotonic() + self._traffic_seconds, own)
            return own

    def forget(self) -> None:
        """Something has changed that the next one who asks should see."""
        self._good_until = float("-inf")
        self._outlook = None
        self._own.clear()

    def _own_now(self, account: str) -> Own | None:
        good_until, own = self._own.get(account, (0.0, None))
        return own if time.monotonic() < good_until else None

    async def _read_own(self, account: str) -> Own:
        names = list(self.limits)
        async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
            lines = _lines(await conn.fetch(_SQL.line, names, MAX_AHEAD, account))
            share = await conn.fetchrow(_SQL.share, account)
        return Own(lines=lines, **share) if share is not None else Own(lines=lines)

    async def _read(self) -> Outlook:
        names = list(self.limits)
        async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
            if self._history is None or time.monotonic() >= self._history_good_until:
                self._history = await _history(conn, names)
                self._history_good_until = time.monotonic() + self._history_seconds
            gates = await gate_states(conn)  # pyright: ignore[reportArgumentType]
            return Outlook(
                limits=self.limits,
                latencies=self._history.latencies,
                waits=self._history.waits,
                crowd=_crowd(await conn.fetch(_SQL.crowd, names, MAX_OF_OTHERS, MAX_ACCOUNTS)),
                busy={row["provider"]: row["images"] for row in await conn.fetch(_SQL.busy)},
                slots={row["provider"]: row["slots"] for row in await conn.fetch(_SQL.places, self._lease_seconds)},
                gates=gates,
                pause=await paused(conn),  # pyright: ignore[reportArgumentType]
            )


async def _history(conn: Any, providers: Sequence[str]) -> History:
    latencies = await conn.fetch(_SQL.latencies, providers, MAX_CALLS)
    waits = await waits_of(conn, providers)
    return History(
        latencies={
            (row["provider"], row["model"]): Latency(p50_seconds=row["p50_seconds"], p90_seconds=row["p90_seconds"])
            for row in latencies
        },
        waits=waits,
    )


async def waits_of(
    conn: Any, providers: Sequence[str], *, account: str | None = None
) -> Mapping[str, tuple[int, float]]:
    """How many images of each provider have waited of late, and for how many seconds in all: one account's, or all."""
    rows = await conn.fetch(_SQL.waits, providers, MAX_CALLS, account)
    return {row["provider"]: (row["images"], row["seconds"]) for row in rows}


def _crowd(rows: Collection[asyncpg.Record]) -> dict[str, dict[str, Waiting]]:
    """By provider and account."""
    crowd: dict[str, dict[str, Waiting]] = defaultdict(dict)
    for row in rows:
        crowd[row["provider"]][row["account"]] = Waiting(images=row["images"], weight=row["weight"])
    return crowd


def _lines(rows: Collection[asyncpg.Record]) -> dict[str, Line]:
    """By provider, from the jobs in order."""
    by_provider: dict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        by_provider[row["provider"]].append(row)
    return {
        provider: Line(
            places=[(row["priority"], row["not_before"], row["job_id"]) for row in those],
            before=list(accumulate((row["images"] for row in those), initial=0)),
        )
        for provider, those in by_provider.items()
    }
