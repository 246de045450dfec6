"""The claim: the only door to work on an image, and what its owner holds.

A lease is the image's row, its state and a token. Every write of the owner names all three; when no row matches, the
lease is lost and the owner stops writing. That is a normal return value (`LeaseLost`), not an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.attempts import OnUncertain, RetryBudget
from safelight.domain.fallback import OnRefusal
from safelight.domain.ids import ClaimToken, ImageRowId, JobId, WorkerId
from safelight.domain.lifecycle import ImageStatus
from safelight.tracing.context import TraceContext

_SQL = load("claim")


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """Nothing was written to the image: someone else owns it by now, or it has ended."""


LEASE_LOST = LeaseLost()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """What a queue row says: look at this image. It may be stale, lost or doubled without harm."""

    queue_row_id: int
    row_id: ImageRowId
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """An image and the right to write to it, as claimed; `status` is the state that the owner last gave it.

    `is_fresh`: no call was ever made for it, and only its owner can make one. `has_references`: pictures of other
    images go into its calls; `is_referenced`: its own goes into theirs. `outputs` are what its job keeps of every
    picture. `attempts` is how many were made for it before; `trace` is where its job was ordered.
    """

    row_id: ImageRowId
    job_id: JobId
    image_id: str
    group: str
    provider: str
    model: str
    prompt: str
    options: Mapping[str, Any]
    fingerprint: str
    estimate_microusd: int | None
    timeout_seconds: float
    budget: RetryBudget
    run: int
    failures: int
    broken_steps: int
    may_buy: bool
    token: ClaimToken
    worker_id: WorkerId
    crash_count: int
    furthest_stage: int
    attempts: int
    is_fresh: bool
    status: ImageStatus
    on_refusal: OnRefusal
    has_next_provider: bool
    has_alternate_prompt: bool
    has_references: bool
    is_referenced: bool
    outputs: Sequence[Mapping[str, Any]]
    storage_prefix: str | None
    trace: TraceContext | None

    def moved(self, status: ImageStatus) -> Lease:
        return replace(self, status=status)


async def claim_all(
    pool: asyncpg.Pool, hints: Sequence[Hint], *, worker_id: WorkerId, lease_seconds: float
) -> list[Lease | None]:
    """Takes each image under a new token; None where the hint is stale, or another worker lives and owns it, or where
    somebody has its row locked at this moment: that one is to be asked for by itself, with `claim`.

    Of any number of claims for one admission exactly one succeeds. A claim from an owner whose heartbeat is stale
    counts one crash. None is waited for, since the rows of several images have no order in which all who lock them
    would: it is one transaction, and when it fails, nobody has anything.
    """
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        free = {row["row_id"] for row in await conn.fetch(_SQL.lock_free, [hint.row_id for hint in hints])}
        once = {hint.row_id: hint for hint in hints if hint.row_id in free}
        leases = await _claim(conn, list(once.values()), worker_id, lease_seconds)
    found = {once[lease.row_id]: lease for lease in leases}
    return [found.pop(hint, None) for hint in hints]  # the same hint twice is one lease


async def claim(pool: asyncpg.Pool, hint: Hint, *, worker_id: WorkerId, lease_seconds: float) -> Lease | None:
    """`claim_all` for one, in one statement, which waits for whoever has its row locked."""
    leases = await _claim(pool, [hint], worker_id, lease_seconds)
    return leases[0] if leases else None


async def _claim(conn: Any, hints: Sequence[Hint], worker_id: WorkerId, lease_seconds: float) -> list[Lease]:
    rows = await conn.fetch(
        _SQL.claim,
        [hint.row_id for hint in hints],
        [hint.generation for hint in hints],
        [hint.queue_row_id for hint in hints],
        worker_id,
        lease_seconds,
    )
    return [_lease(row) for row in rows]


async def owned_by(conn: asyncpg.Pool | asyncpg.Connection, worker_id: WorkerId) -> list[Lease]:
    """Every image that this worker owns, as it stands."""
    return [_lease(row) for row in await conn.fetch(_SQL.owned_by, worker_id)]


async def owner_of(pool: asyncpg.Pool, row_id: ImageRowId) -> WorkerId | None:
    return await pool.fetchval(_SQL.owner, row_id)


async def refund_crashes(conn: asyncpg.Pool | asyncpg.Connection, worker_id: WorkerId) -> None:
    """This worker was taken for dead and is not: the crashes counted on it are taken back."""
    await conn.execute(_SQL.refund_crashes, worker_id)


def _lease(row: asyncpg.Record) -> Lease:
    token: UUID = row["claim_token"]
    return Lease(
        row_id=row["row_id"],
        job_id=row["job_id"],
        image_id=row["id"],
        group=row["image_group"],
        provider=row["provider"],
        model=row["model"],
        prompt=row["prompt"],
        options=row["options"],
        fingerprint=row["fingerprint"],
        estimate_microusd=row["estimate_microusd"],
        timeout_seconds=row["timeout_seconds"],
        budget=RetryBudget(
            max_attempts=row["max_attempts"],
            max_rebuys=row["max_rebuys"],
            on_uncertain=OnUncertain(row["on_uncertain"]),
        ),
        run=row["run"],
        failures=row["failures"],
        broken_steps=row["broken_steps"],
        may_buy=row["lane"] == "buy",
        token=ClaimToken(token),
        worker_id=row["worker_id"],
        crash_count=row["crash_count"],
        furthest_stage=row["furthest_stage"],
        attempts=row["attempt_count"],
        is_fresh=row["attempt_count"] == 0 and row["stop"] is None,
        status=ImageStatus(row["status"]),
        on_refusal=OnRefusal(row["on_refusal"]),
        has_next_provider=bool(row["has_next_provider"]),
        has_alternate_prompt=row["has_alternate_prompt"],
        has_references=row["has_references"],
        is_referenced=row["is_referenced"],
        outputs=row["outputs"],
        storage_prefix=row["storage_prefix"],
        trace=TraceContext.of_text(row["trace_context"]),
    )
