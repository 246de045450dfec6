"""Submit: one transaction makes the job, its images and its first event; after its commit the job is kept."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass

import asyncpg
import orjson

from safelight.db.pool import ACQUIRE_SECONDS, CONNECTION_LOST
from safelight.db.statements import load
from safelight.domain.credits import Billing, CreditPrices
from safelight.domain.errors import BudgetExceeded, InvalidRequest, Unavailable
from safelight.domain.events import EventType
from safelight.domain.ids import JobId, new_endpoint_id, new_job_id
from safelight.domain.order import ImageOrder, JobOrder
from safelight.domain.signing import LINK_KEY_BYTES
from safelight.engine.accounts.accounts import ensure
from safelight.engine.image.charge import Item, Payer, charge, limit_job, tell_if_exhausted
from safelight.engine.image.journal import append_event
from safelight.engine.orders.depth import QueueDepth
from safelight.tracing.spans import current_context

_SQL, _ERASURE = load("submit"), load("erasure")
_UPLOADS = load("uploads")


@dataclass(frozen=True, slots=True)
class Accepted:
    """`replayed`: the idempotency key had been used for the same request before; this is that job."""

    job_id: JobId
    replayed: bool


async def submit(
    pool: asyncpg.Pool,
    order: JobOrder,
    *,
    run_limit_seconds: float,
    prices: CreditPrices = CreditPrices(),  # noqa: B008 - a constant
    account_billing: Billing = Billing.NONE,
    depth: QueueDepth | None = None,
) -> Accepted:
    """The order is a job, durably. Racing submits under one key make one job, and each is told its id.

    The trace that it is ordered in is kept with the job: what becomes of it elsewhere belongs there too.

    What its account pays in advance is held in the same transaction, at these `prices`; an account that is not there
    yet is made, and billed as `account_billing`.

    A commit whose answer is lost is looked up by the job's id, so it is neither reported as lost nor made twice. Raises
    InvalidRequest (`idempotency-key-reused`) when the key belongs to another request, BudgetExceeded when it costs more
    than is left, Unavailable (`queue-full`) when more would wait than `depth` allows (None: any number), and
    Unavailable (`idempotency-in-progress`) when a submit under the same key does not end within the lock timeout. Who
    is told of a job again is not charged again, nor refused.
    """
    job_id = new_job_id()
    try:
        created = await _create(pool, job_id, order, run_limit_seconds, prices, account_billing, depth)
    except asyncpg.LockNotAvailableError as error:
        raise Unavailable(
            "A request with the same Idempotency-Key is still being accepted.", slug="idempotency-in-progress"
        ) from error
    except BudgetExceeded as refusal:
        await tell_if_exhausted(pool, refusal)
        raise
    except CONNECTION_LOST:
        created = await pool.fetchval(_SQL.job_exists, job_id, timeout=ACQUIRE_SECONDS)
        if not created:
            raise
    if created:
        return Accepted(job_id, replayed=False)
    row = await pool.fetchrow(_SQL.job_of_key, order.account, order.idempotency_key)
    assert row is not None, "a conflicting key belongs to a committed job"
    if row["request_fingerprint"] != order.body_fingerprint:
        raise InvalidRequest("This Idempotency-Key was used for a different request.", slug="idempotency-key-reused")
    return Accepted(JobId(row["id"]), replayed=True)


async def _create(
    pool: asyncpg.Pool,
    job_id: JobId,
    order: JobOrder,
    run_limit_seconds: float,
    prices: CreditPrices,
    account_billing: Billing,
    depth: QueueDepth | None,
) -> bool:
    """False when the order's key belongs to an earlier job."""
    context = current_context()
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        created = await conn.fetchrow(
            _SQL.insert_job,
            job_id,
            order.account,
            order.idempotency_key,
            order.body_fingerprint,
            order.storage_prefix,
            [dict(output) for output in order.outputs],
            dict(order.metadata),
            order.deadline_seconds,
            order.on_deadline,
            run_limit_seconds,
            order.priority.value,
            order.not_before,
            context.text if context is not None else None,
        )
        if created is None:
            return False
        if depth is not None:
            await depth.require_room(
                conn,  # pyright: ignore[reportArgumentType]
                order.account,
                len(order.images),
                inserted=created["inserted"],
                most_of_account=created["max_queued"],
            )
        if order.visibility == "link":
            await conn.execute(_ERASURE.share, job_id, secrets.token_bytes(LINK_KEY_BYTES))
        await _insert_images(conn, job_id, order)  # pyright: ignore[reportArgumentType]
        if created["billing"] is None:
            await ensure(conn, order.account, billing=account_billing)  # pyright: ignore[reportArgumentType]
        if order.max_cost_microusd is not None:
            await limit_job(conn, job_id, order.max_cost_microusd)  # pyright: ignore[reportArgumentType]
        payer = Payer(
            account=order.account,
            billing=Billing(created["billing"] or account_billing),
            daily_budget_microusd=created["daily_budget_microusd"],
            max_cost_microusd=order.max_cost_microusd,
        )
        items = [Item(position, image.targets) for position, image in enumerate(order.images)]
        await charge(conn, job_id, payer, items, prices)  # pyright: ignore[reportArgumentType]
        if (hook := order.webhook) is not None:
            events = None if hook.events is None else list(hook.events)
            await conn.execute(_SQL.insert_webhook, new_endpoint_id(), order.account, job_id, hook.url, events)
        await append_event(
            conn,  # pyright: ignore[reportArgumentType]
            job_id,
            EventType.JOB_CREATED,
            data={"total": len(order.images)},
        )
        return True


async def _insert_images(conn: asyncpg.Connection, job_id: JobId, order: JobOrder) -> None:
    images = order.images
    await conn.execute(
        _SQL.insert_images,
        job_id,
        list(range(len(images))),
        [image.id for image in images],
        [image.group for image in images],
        [image.provider for image in images],
        [image.model for image in images],
        [image.prompt for image in images],
        [dict(image.options) for image in images],
        [image.fingerprint for image in images],
        [image.estimate_microusd for image in images],
        [image.timeout_seconds for image in images],
        [image.budget.max_attempts for image in images],
        [image.budget.max_rebuys for image in images],
        [image.budget.on_uncertain.value for image in images],
        [_targets(image) for image in images],
        [image.on_refusal.value for image in images],
        [image.alternate_prompt for image in images],
        [any(reference.image_id is not None for reference in image.references) for image in images],
        [image.style.as_json() if image.style is not None else None for image in images],
    )
    await _insert_references(conn, job_id, order)


async def _insert_references(conn: asyncpg.Connection, job_id: JobId, order: JobOrder) -> None:
    positions = {image.id: position for position, image in enumerate(order.images)}
    rows = [
        (
            positions[image.id],
            n,
            positions[reference.image_id] if reference.image_id is not None else None,
            reference.role,
            reference.upload_id,
            reference.url,
            False,
        )
        for image in order.images
        for n, reference in enumerate(image.references)
    ]
    rows += [
        (positions[image.id], len(image.references), None, None, image.mask, None, True)
        for image in order.images
        if image.mask is not None
    ]
    if not rows:
        return
    await _hold_uploads(conn, order.account, {row[4] for row in rows if row[4] is not None})
    await conn.execute(_SQL.insert_references, job_id, *(list(column) for column in zip(*rows, strict=True)))


async def _hold_uploads(conn: asyncpg.Connection, account: str, upload_ids: Collection[str]) -> None:
    """None of them goes while the job lives."""
    held = await conn.fetchval(_UPLOADS.hold_uploads, account, list(upload_ids)) if upload_ids else 0
    if held != len(upload_ids):
        raise InvalidRequest("An upload that an image is to be made from is not, or no longer, there.")


def _targets(image: ImageOrder) -> str | None:
    """As JSON text: a list within a list would reach the database as an array of two dimensions."""
    return orjson.dumps([target.as_json() for target in image.targets]).decode() if image.fallbacks else None
