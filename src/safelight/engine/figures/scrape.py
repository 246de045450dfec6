"""What /metrics tells of the installation: the tally's sums, and how things stand at this moment.

All of it is read from the database in one snapshot, so that every process that is asked says the same, and kept for a
few seconds, so that many who ask cost as much as one. Without the database nothing of it is told, and at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import structlog
from prometheus_client.metrics_core import Metric as Family

from safelight.db.pool import TRANSIENT
from safelight.db.statements import load
from safelight.domain.money import MICROUSD_PER_USD
from safelight.engine.estimates.offers import standing_of
from safelight.engine.figures.tally import BOUNDS_SECONDS, Tally
from safelight.engine.gates import GateState, gate_states
from safelight.engine.upkeep.stuck import Bounds, suspects
from safelight.metrics import Distribution, Kind, Metric, family

ACQUIRE_SECONDS = 1.0
READ_SECONDS = 4.0
"""A scrape that takes longer tells of the process only. Prometheus waits for 10 seconds unless told otherwise."""
_FRESH_SECONDS = 5.0
_FRESH_FAILURE_SECONDS = 1.0
_MOST_NOTES = 100_000

_SQL = load("tally")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """What the tally has under `name`. Its labels are columns of the tally, in the order of the metric's."""

    name: str
    metric: Metric
    columns: tuple[str, ...] = ()
    is_money: bool = False


def _sum(
    name: str, series: str, text: str, *, is_money: bool = False, is_distribution: bool = False, **labels: str
) -> Sum:
    """`labels` are the metric's, by the tally's column."""
    kind = Kind.HISTOGRAM if is_distribution else Kind.COUNTER
    metric = Metric(name=f"safelight_{series}", kind=kind, labels=tuple(labels.values()), text=text)
    return Sum(name=name, metric=metric, columns=tuple(labels), is_money=is_money)


SUMS = (
    _sum("jobs", "jobs_ended", "Runs of jobs that ended, by how. A retry is another run.", word="status"),
    _sum(
        "images",
        "images_ended",
        "Images that ended, by how, by whom they were asked of last, and by the kind of error, if there was one. An "
        "image that is retried ends again.",
        provider="provider",
        word="status",
        kind="error",
    ),
    _sum(
        "attempts",
        "attempts",
        "Calls to providers by what came of them: `picture`, `refused`, `no_image` (billed, without a picture), "
        "`unbilled` (an error that cost nothing), `unknown`.",
        provider="provider",
        model="model",
        word="outcome",
    ),
    _sum(
        "attempts_revised",
        "attempts_revised",
        "Calls that `safelight_attempts_total` had counted under this outcome and that turned out otherwise, under "
        "which they were counted again. The difference of both is the book.",
        provider="provider",
        model="model",
        word="outcome",
    ),
    _sum(
        "attempt_errors",
        "attempt_errors",
        "Calls that brought no picture, by the kind of error.",
        provider="provider",
        kind="error",
    ),
    _sum("cost", "cost_usd", "What calls have cost, as far as it is known.", is_money=True, provider="provider"),
    _sum(
        "wasted_cost",
        "wasted_cost_usd",
        "The part of it that brought no picture, or one that its image ended without.",
        is_money=True,
        provider="provider",
    ),
    _sum(
        "recovered_cost",
        "recovered_cost_usd",
        "What had been counted as wasted until a retry used the picture.",
        is_money=True,
        provider="provider",
    ),
    _sum(
        "uncertain_cost",
        "uncertain_cost_usd",
        "What calls may have cost whose outcome or price was not known: their estimate. Not part of the cost.",
        is_money=True,
        provider="provider",
    ),
    _sum(
        "resolved_cost",
        "resolved_cost_usd",
        "What had been counted as uncertain until it was known. The difference of both is what is uncertain now.",
        is_money=True,
        provider="provider",
    ),
    _sum(
        "unpriced",
        "unpriced_attempts",
        "Calls of unknown cost that nothing bounds: they are in no sum of money.",
        provider="provider",
    ),
    _sum(
        "queue_wait",
        "image_queue_wait_seconds",
        "From when an image could have been begun until its first call. Without images that were retried before, and "
        "those that are made from others.",
        is_distribution=True,
        provider="provider",
    ),
    _sum(
        "generation",
        "image_generation_seconds",
        "Of calls that brought a delivered picture, from their sending until it had arrived.",
        is_distribution=True,
        provider="provider",
    ),
    _sum(
        "image",
        "image_duration_seconds",
        "From when a completed image could have been begun until its picture was stored. Without images that were "
        "retried.",
        is_distribution=True,
        provider="provider",
    ),
    _sum(
        "webhook_messages",
        "webhook_messages",
        "Messages to webhooks that were delivered, or given up (`dead`).",
        word="outcome",
    ),
    _sum("webhook_failures", "webhook_failures", "Posts to webhooks that were not taken."),
    _sum(
        "webhook",
        "webhook_delivery_seconds",
        "From when a message was wanted until it was taken.",
        is_distribution=True,
    ),
)

DATABASE_UP = Metric(
    name="safelight_database_up",
    kind=Kind.GAUGE,
    text="1 when the figures of the installation could be read; else they are not there, and this is 0.",
)


def _now(series: str, text: str, *labels: str) -> Metric:
    return Metric(name=f"safelight_{series}", kind=Kind.GAUGE, labels=labels, text=text)


IMAGES = _now("images", "Images that have not ended, by state.", "provider", "status")
OLDEST = _now("queue_oldest_seconds", "How long the image has been due that waits longest. 0: none is due.", "provider")
GATE = _now(
    "provider_gate",
    "1 for the state that a provider's gates are in, the worst of them: `open`, `limited` (a rate limit) or `shut`.",
    "provider",
    "state",
)
JOBS = _now("jobs_open", "Jobs that have not ended.")
STUCK = _now("images_stuck", "Images that have stood still for too long, although nothing explains it.")
WORKERS = _now("workers", "Worker processes that live: `working`, or `draining`.", "state")
SLOTS = _now("worker_slots", "Places of those that work: for paid calls (`buy`), and for the rest (`finish`).", "lane")
DISABLED = _now("webhook_endpoints_disabled", "Endpoints that are sent nothing any more.")
FAILING = _now("webhook_endpoints_failing", "Endpoints that took nothing the last time.")
PAUSED = _now("paused", "1 while nothing is bought.")
NOTES = _now("tally_notes", f"What has happened and is not counted yet; {_MOST_NOTES} stands for more.")

OF_INSTALLATION = (
    *(each.metric for each in SUMS),
    *(IMAGES, OLDEST, GATE, JOBS, STUCK, WORKERS, SLOTS, DISABLED, FAILING, PAUSED, NOTES),
)
"""The same whichever process is asked. Counters go on where they were after any restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    sums: Sequence[asyncpg.Record]
    images: Sequence[asyncpg.Record]
    gates: Sequence[GateState]
    stuck: int
    row: Mapping[str, Any]


class Scrape:
    """What stands still for longer than `stuck_seconds` is told of. `lease_seconds` after its last sign a worker is
    gone. `bounds` names the providers that are configured."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        tally: Tally,
        *,
        bounds: Bounds,
        lease_seconds: float,
        stuck_seconds: float,
        fresh_seconds: float = _FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._tally = tally
        self._bounds = bounds
        self._lease_seconds = lease_seconds
        self._stuck_seconds = stuck_seconds
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._found: list[Family] = []
        self._good_until = float("-inf")

    async def families(self) -> Sequence[Family]:
        """Every series of the installation, a few seconds old at most. Only `safelight_database_up` when the database
        does not answer in time."""
        async with self._lock:
            if self._clock() >= self._good_until:
                reading = await self._look()
                fresh_seconds = self._fresh_seconds if reading is not None else _FRESH_FAILURE_SECONDS
                self._found = [family(DATABASE_UP, {(): float(reading is not None)})]
                if reading is not None:
                    self._found += _families(reading, self._bounds.max_concurrency)
                self._good_until = self._clock() + min(fresh_seconds, self._fresh_seconds)
            return self._found

    async def _look(self) -> _Reading | None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._catch_up()
                return await self._read()
        except (asyncpg.PostgresError, *TRANSIENT) as error:
            log.warning("cannot read the figures of the installation", error=type(error).__name__)
            return None

    async def _catch_up(self) -> None:
        """What has just happened is counted too, if that is soon done."""
        try:
            await self._tally.advance(acquire_seconds=ACQUIRE_SECONDS)
        except asyncpg.PostgresError as error:
            log.warning("could not add to the tally", error=type(error).__name__)

    async def _read(self) -> _Reading:
        async with (
            self._pool.acquire(timeout=ACQUIRE_SECONDS) as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            await conn.execute(_SQL.hurry)
            row = await conn.fetchrow(_SQL.installation, self._lease_seconds, _MOST_NOTES)
            assert row is not None
            stuck = await suspects(
                conn,  # pyright: ignore[reportArgumentType]
                self._bounds,
                lease_seconds=self._lease_seconds,
                for_seconds=self._stuck_seconds,
            )
            return _Reading(
                sums=await conn.fetch(_SQL.sums),
                images=await conn.fetch(_SQL.open_images),
                gates=await gate_states(conn),  # pyright: ignore[reportArgumentType]
                stuck=len(stuck),
                row=row,
            )


def _families(reading: _Reading, configured: Collection[str]) -> Iterator[Family]:
    by_name: defaultdict[str, list[asyncpg.Record]] = defaultdict(list)
    for row in reading.sums:
        by_name[row["name"]].append(row)
    for each in SUMS:
        if each.metric.kind is Kind.HISTOGRAM:
            yield family(each.metric, _distributions(each, by_name[each.name]))
        else:
            yield family(each.metric, _totals(each, by_name[each.name]))
    images: dict[tuple[str, ...], float] = {(name, "queued"): 0 for name in configured}
    oldest: dict[tuple[str, ...], float] = {(name,): 0 for name in configured}
    for row in reading.images:
        images[row["provider"], row["status"]] = row["images"]
        oldest[row["provider"],] = max(oldest.get((row["provider"],), 0), row["waited_seconds"] or 0)
    yield family(IMAGES, images)
    yield family(OLDEST, oldest)
    yield family(GATE, _gates(reading.gates, configured))
    row = reading.row
    yield family(JOBS, {(): row["open_jobs"]})
    yield family(STUCK, {(): reading.stuck})
    yield family(WORKERS, {("working",): row["workers"], ("draining",): row["draining"]})
    yield family(SLOTS, {("buy",): row["slots"], ("finish",): row["finish_slots"]})
    yield family(DISABLED, {(): row["disabled_endpoints"]})
    yield family(FAILING, {(): row["failing_endpoints"]})
    yield family(PAUSED, {(): float(row["is_paused"])})
    yield family(NOTES, {(): row["notes"]})


def _totals(of: Sum, rows: Sequence[asyncpg.Record]) -> dict[tuple[str, ...], float]:
    """One without labels is there from the start; a series with some begins with what it counts."""
    found: dict[tuple[str, ...], float] = {} if of.columns else {(): 0}
    for row in rows:
        found[tuple(row[column] for column in of.columns)] = (
            row["count"] / MICROUSD_PER_USD if of.is_money else row["count"]
        )
    return found


def _distributions(of: Sum, rows: Sequence[asyncpg.Record]) -> dict[tuple[str, ...], Distribution]:
    parts: defaultdict[tuple[str, ...], list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        parts[tuple(row[column] for column in of.columns)].append(row)
    bounds = (*BOUNDS_SECONDS, float("inf"))
    return {
        labels: Distribution(
            buckets=[(bound, sum(row["count"] for row in found if row["le"] <= bound)) for bound in bounds],
            sum_seconds=sum(row["seconds"] for row in found),
        )
        for labels, found in parts.items()
    }


def _gates(gates: Collection[GateState], configured: Collection[str]) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for name in configured:
        standings = {standing_of(gate) for gate in gates if gate.provider == name}
        worst = next((state for state in ("shut", "limited") if state in standings), "open")
        found |= {(name, state): float(state == worst) for state in ("open", "limited", "shut")}
    return found
