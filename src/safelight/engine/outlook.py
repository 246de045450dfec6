"""What lies before the images that wait: who is ahead of them, how long calls have taken of late, what is shut.

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

MAX_CALLS = 500
"""Of each provider, the newest: so many are looked at. Chosen."""

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
    """Who waits for one provider, in order, as far as anybody counts; `before[n]` images stand before the nth place.
    Those of a model that is shut are passed over, and so are not in it."""

    places: Sequence[Place] = ()
    before: Sequence[int] = (0,)

    def ahead_of(self, place: Place) -> int | None:
        """Images that go first. None: more than anybody counts."""
        ahead = self.before[bisect_left(self.places, place)]
        return ahead if ahead < MAX_AHEAD else None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """`latencies` are by provider and model; None stands for all of its models. `waits` is of each provider how many
    images have waited of late and for how many seconds in all."""

    latencies: Mapping[tuple[str, str | None], Latency]
    waits: Mapping[str, tuple[int, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Of the whole installation. A provider that is in no mapping has nothing of the kind."""

    limits: Mapping[str, Limits]
    latencies: Mapping[tuple[str, str | None], Latency]
    waits: Mapping[str, tuple[int, float]]
    lines: Mapping[str, Line]
    busy: Mapping[str, int]
    slots: Mapping[str, int]
    gates: Collection[GateState]
    pause: Pause | None

    def concurrency(self, provider: str) -> int:
        """How many of its images run at a time; 0 when no live worker serves it, or it is not configured any more."""
        limits = self.limits.get(provider)
        return min(limits.max_concurrency, self.slots.get(provider, 0)) if limits else 0

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

    def forget(self) -> None:
        """Something has changed that the next one who asks should see."""
        self._good_until = float("-inf")
        self._outlook = None

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
                lines=_lines(await conn.fetch(_SQL.line, names, MAX_AHEAD)),
                busy={row["provider"]: row["images"] for row in await conn.fetch(_SQL.busy)},
                slots={row["provider"]: row["slots"] for row in await conn.fetch(_SQL.places, self._lease_seconds)},
                gates=gates,
                pause=await paused(conn),  # pyright: ignore[reportArgumentType]
            )


async def _history(conn: Any, providers: Sequence[str]) -> History:
    latencies = await conn.fetch(_SQL.latencies, providers, MAX_CALLS)
    waits = await conn.fetch(_SQL.waits, providers, MAX_CALLS)
    return History(
        latencies={
            (row["provider"], row["model"]): Latency(p50_seconds=row["p50_seconds"], p90_seconds=row["p90_seconds"])
            for row in latencies
        },
        waits={row["provider"]: (row["images"], row["seconds"]) for row in waits},
    )


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
