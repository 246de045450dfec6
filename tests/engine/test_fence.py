"""A worker that lost its lease to another one in the very same state: nothing but the token tells them apart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from safelight.db.statements import load
from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import ImageStatus
from safelight.engine.image import provider_book, settle
from safelight.engine.image.lease import LEASE_LOST, Lease
from safelight.engine.image.outcome import End, ImageError, TryAgain, no_answer
from safelight.settings import Settings
from tests.engine import alone
from tests.engine.by_hand import admitted_one, lost_lease, picture, pipeline_of, receipt_of
from tests.engine.test_claim import register, take
from tests.orders import attempts_of, image, images_of

Write = Callable[[asyncpg.Pool, Lease, str], Awaitable[object]]

ERROR = ImageError(kind=ErrorKind.PERMANENT, code="NO", message="No.", billed=Billed.NO)
UNKNOWN, _ = no_answer("TIMEOUT", "No answer.")

WRITES: dict[str, tuple[ImageStatus, Write]] = {
    "release": (ImageStatus.PROCESSING, lambda pool, lease, _: settle.release(pool, lease)),
    "end": (ImageStatus.PROCESSING, lambda pool, lease, _: settle.end(pool, lease, ImageStatus.FAILED, ERROR)),
    "end_stopped": (ImageStatus.GENERATING, lambda pool, lease, _: settle.end_stopped(pool, lease, "cancel")),
    "receive": (
        ImageStatus.GENERATING,
        lambda pool, lease, attempt: alone.receive(pool, lease, receipt_of(lease, attempt, picture())),
    ),
    "conclude and try again": (
        ImageStatus.GENERATING,
        lambda pool, lease, attempt: settle.conclude(pool, lease, attempt, UNKNOWN, TryAgain(), retry_unit_seconds=1),  # pyright: ignore[reportArgumentType]
    ),
    "conclude and end": (
        ImageStatus.GENERATING,
        lambda pool, lease, attempt: settle.conclude(
            pool,
            lease,
            attempt,  # pyright: ignore[reportArgumentType]
            UNKNOWN,
            End(ImageStatus.FAILED),
            retry_unit_seconds=1,
        ),
    ),
    "complete": (ImageStatus.UPLOADING, lambda pool, lease, attempt: alone.complete(pool, lease, attempt, [])),
}


async def everything_but_attempts(pool: asyncpg.Pool, job_id: JobId) -> list[Any]:
    return [
        await pool.fetch("SELECT * FROM jobs"),
        await images_of(pool, job_id),
        await pool.fetch("SELECT * FROM events ORDER BY seq"),
        await pool.fetch("SELECT * FROM renditions"),
    ]


@pytest.mark.parametrize("write", WRITES)
async def test_whoever_lost_its_lease_changes_nothing_though_the_new_owner_is_in_the_same_state(
    write: str, pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    status, write_it = WRITES[write]
    first, second = await register(pool), await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    async with pipeline_of(settings, pool, first) as pipeline:
        stale = await take(pool, hint, first)
        assert stale is not None
        sent = await pipeline.commit(stale)
        assert sent is not None
    assert await take(pool, hint, second) is not None
    await pool.execute("UPDATE images SET status = $1", status.value)
    before = await everything_but_attempts(pool, job_id)

    assert await write_it(pool, stale.moved(status), sent.id) is LEASE_LOST
    assert await everything_but_attempts(pool, job_id) == before


async def test_whoever_lost_its_lease_commits_no_attempt_and_says_nothing(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    first, second = await register(pool), await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    stale = await take(pool, hint, first)
    assert stale is not None
    assert await take(pool, hint, second) is not None
    before = await everything_but_attempts(pool, job_id)
    async with pipeline_of(settings, pool, first) as pipeline:
        assert await pipeline.commit(stale) is None
    assert await everything_but_attempts(pool, job_id) == before
    assert await attempts_of(pool, job_id) == []


async def test_what_a_worker_without_a_lease_received_is_booked_and_a_waiting_image_is_due_at_once(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    """Without any help of the sweep: its staging folder is not looked at."""
    first, second = await register(pool), await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    async with pipeline_of(settings, pool, first) as pipeline:
        stale = await take(pool, hint, first)
        assert stale is not None
        sent = await pipeline.commit(stale)
        assert sent is not None
    current = await take(pool, hint, second)
    assert current is not None
    await settle.release(pool, current, after_seconds=600)

    receipt = receipt_of(stale, sent.id, picture())
    assert await alone.receive(pool, stale.moved(ImageStatus.GENERATING), receipt) is LEASE_LOST
    [attempt] = await attempts_of(pool, job_id)
    assert (attempt["status"], attempt["cost_microusd"]) == ("received", receipt.cost_microusd)
    assert await pool.fetchval("SELECT status = 'queued' AND not_before <= safelight.now() FROM images")


async def test_a_receipt_is_neither_written_twice_nor_closed_by_a_late_failure(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    first = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    async with pipeline_of(settings, pool, first) as pipeline:
        lease = await take(pool, hint, first)
        assert lease is not None
        sent = await pipeline.commit(lease)
        assert sent is not None
    assert await provider_book.insert_receipt(pool, receipt_of(lease, sent.id, picture())) == lease.row_id
    before = await attempts_of(pool, job_id)
    assert await provider_book.insert_receipt(pool, receipt_of(lease, sent.id, picture(), cost_microusd=1)) is None
    async with pool.acquire() as conn:
        await provider_book.close_attempt(conn, sent.id, UNKNOWN)  # pyright: ignore[reportArgumentType]
    assert await attempts_of(pool, job_id) == before


async def test_a_sweep_that_saw_an_earlier_owner_takes_nothing_from_the_present_one(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    job_id, seen = await lost_lease(pool, queue)
    before = await everything_but_attempts(pool, job_id)
    assert await pool.fetchval(load("sweep").requeue_orphan, seen.row_id, "processing", seen.token) is None
    assert await everything_but_attempts(pool, job_id) == before
