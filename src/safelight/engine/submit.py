"""Submit: one transaction makes the job, its images and its first event; after its commit the job is kept."""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
import orjson

from safelight.db.pool import ACQUIRE_SECONDS, CONNECTION_LOST
from safelight.db.statements import load
from safelight.domain.errors import InvalidRequest, Unavailable
from safelight.domain.events import EventType
from safelight.domain.ids import JobId, new_endpoint_id, new_job_id
from safelight.domain.order import ImageOrder, JobOrder
from safelight.engine.journal import append_event

_SQL = load("submit")


@dataclass(frozen=True, slots=True)
class Accepted:
    """`replayed`: the idempotency key had been used for the same request before; this is that job."""

    job_id: JobId
    replayed: bool


async def submit(pool: asyncpg.Pool, order: JobOrder, *, run_limit_seconds: float) -> Accepted:
    """The order is a job, durably. Racing submits under one key make one job, and each is told its id.

    A commit whose answer is lost is looked up by the job's id, so it is neither reported as lost nor made twice. Raises
    InvalidRequest (`idempotency-key-reused`) when the key belongs to another request, and Unavailable
    (`idempotency-in-progress`) when a submit under the same key does not end within the lock timeout.
    """
    job_id = new_job_id()
    try:
        created = await _create(pool, job_id, order, run_limit_seconds)
    except asyncpg.LockNotAvailableError as error:
        raise Unavailable(
            "A request with the same Idempotency-Key is still being accepted.", slug="idempotency-in-progress"
        ) from error
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


async def _create(pool: asyncpg.Pool, job_id: JobId, order: JobOrder, run_limit_seconds: float) -> bool:
    """False when the order's key belongs to an earlier job."""
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
        created = await conn.fetchval(
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
        )
        if created is None:
            return False
        await _insert_images(conn, job_id, order)  # pyright: ignore[reportArgumentType]
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
        [bool(image.references) for image in images],
        [image.style.as_json() if image.style is not None else None for image in images],
    )
    await _insert_references(conn, job_id, order)


async def _insert_references(conn: asyncpg.Connection, job_id: JobId, order: JobOrder) -> None:
    positions = {image.id: position for position, image in enumerate(order.images)}
    rows = [
        (positions[image.id], n, positions[reference.image_id], reference.role)
        for image in order.images
        for n, reference in enumerate(image.references)
    ]
    if rows:
        await conn.execute(_SQL.insert_references, job_id, *(list(column) for column in zip(*rows, strict=True)))


def _targets(image: ImageOrder) -> str | None:
    """As JSON text: a list within a list would reach the database as an array of two dimensions."""
    return orjson.dumps([target.as_json() for target in image.targets]).decode() if image.fallbacks else None
