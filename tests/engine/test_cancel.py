"""Canceling: what waits ends now, what was sent winds down, and a picture that still comes is kept for a retry."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from safelight.domain.errors import Conflict, InvalidRequest, NotFound
from safelight.domain.ids import JobId, new_job_id
from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.control import Cancellation, CancelMode, cancel, retry
from safelight.engine.orders.submit import submit
from safelight.engine.queue.worker import Worker
from safelight.sandbox.server import RunningSandbox
from tests.engine.by_hand import pass_time
from tests.orders import attempts_of, ended, event_types, images_of, job_row, order, until, vendor_image

Start = Callable[[], AbstractAsyncContextManager[Worker]]


async def cancel_job(
    pool: asyncpg.Pool,
    job_id: JobId,
    mode: CancelMode = CancelMode.FINISH,
    image_ids: list[str] | None = None,
) -> Cancellation:
    return await cancel(pool, job_id, account="default", mode=mode, image_ids=image_ids)


async def test_queued_images_end_at_once_and_canceling_again_is_no_error(pool: asyncpg.Pool) -> None:
    accepted = await submit(pool, order(vendor_image("a"), vendor_image("b")), run_limit_seconds=3600)
    assert (await cancel_job(pool, accepted.job_id)).was_canceled is False
    assert (await job_row(pool, accepted.job_id))["status"] == "canceled"
    assert [row["status"] for row in await images_of(pool, accepted.job_id)] == ["canceled", "canceled"]
    assert (await cancel_job(pool, accepted.job_id)).was_canceled is True
    types = await event_types(pool, accepted.job_id)
    assert types == ["job.created", "image.canceled", "image.canceled", "job.canceled"]


async def test_a_sent_call_is_let_finish_and_a_retry_uses_its_picture_for_free(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    sandbox.vendor.hold()
    accepted = await submit(pool, order(vendor_image("a")), run_limit_seconds=3600)
    async with start_worker():
        assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 1, timeout_seconds=20)
        await cancel_job(pool, accepted.job_id)
        assert (await job_row(pool, accepted.job_id))["status"] == "canceling"
        sandbox.vendor.release()
        assert await ended(pool, accepted.job_id) is JobStatus.CANCELED
        [attempt] = await attempts_of(pool, accepted.job_id)
        assert attempt["status"] == "received"
        assert attempt["cost_microusd"] == sandbox.vendor.bill.total_microusd

        await retry(pool, accepted.job_id, account="default", run_limit_seconds=3600)
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED
    assert len(sandbox.vendor.calls) == 1, "the picture was paid for once"
    assert [a["status"] for a in await attempts_of(pool, accepted.job_id)] == ["settled"]


async def test_abort_closes_the_call_and_books_it_as_unknown(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    sandbox.vendor.hold()
    accepted = await submit(pool, order(vendor_image("a", timeout_seconds=60)), run_limit_seconds=3600)
    async with start_worker():
        assert await sandbox.vendor.wait_until(lambda: sandbox.vendor.in_flight == 1, timeout_seconds=20)
        await cancel_job(pool, accepted.job_id, CancelMode.ABORT)
        assert await ended(pool, accepted.job_id) is JobStatus.CANCELED
    [attempt] = await attempts_of(pool, accepted.job_id)
    assert attempt["status"] == "unknown"
    assert attempt["cost_microusd"] is None


async def test_one_image_of_a_job_can_be_canceled_and_the_others_go_on(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    accepted = await submit(pool, order(vendor_image("a"), vendor_image("b")), run_limit_seconds=3600)
    await cancel_job(pool, accepted.job_id, image_ids=["b"])
    assert (await job_row(pool, accepted.job_id))["status"] == "pending"
    async with start_worker():
        assert await ended(pool, accepted.job_id) is JobStatus.CANCELED
    assert [row["status"] for row in await images_of(pool, accepted.job_id)] == ["completed", "canceled"]
    assert len(sandbox.vendor.calls) == 1


async def test_an_image_that_waits_for_an_open_call_is_stopped_when_the_call_is_resolved(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    accepted = await submit(pool, order(vendor_image("a")), run_limit_seconds=3600)
    await pool.execute(
        "INSERT INTO attempts (id, image_row_id, number, run, provider, model, fingerprint, claim_token, worker_id,"
        " sent_at, deadline_at, resolve_at, estimate_microusd)"
        " SELECT 'att_of_the_dead', row_id, 1, 1, provider, model, fingerprint, gen_random_uuid(), gen_random_uuid(),"
        " safelight.now(), safelight.now(), safelight.now() + interval '10 min', 40000 FROM images"
    )
    await pool.execute("UPDATE images SET attempt_count = 1, not_before = safelight.now() + interval '10 min'")
    await cancel_job(pool, accepted.job_id)
    assert (await job_row(pool, accepted.job_id))["status"] == "canceling"
    await pass_time(pool, 601)
    async with start_worker():
        assert await ended(pool, accepted.job_id) is JobStatus.CANCELED
    assert sandbox.vendor.calls == []
    assert [a["status"] for a in await attempts_of(pool, accepted.job_id)] == ["unknown"]


async def test_what_cannot_be_canceled_or_retried_says_so(pool: asyncpg.Pool, start_worker: Start) -> None:
    accepted = await submit(pool, order(vendor_image("a")), run_limit_seconds=3600)
    with pytest.raises(NotFound):
        await cancel_job(pool, new_job_id())
    with pytest.raises(NotFound):
        await cancel(pool, accepted.job_id, account="another", mode=CancelMode.FINISH)
    with pytest.raises(InvalidRequest):
        await cancel_job(pool, accepted.job_id, image_ids=["nobody"])
    with pytest.raises(Conflict, match="no image to retry"):
        await retry(pool, accepted.job_id, account="default", run_limit_seconds=3600)
    async with start_worker():
        await ended(pool, accepted.job_id)
    with pytest.raises(Conflict, match="has ended as completed"):
        await cancel_job(pool, accepted.job_id)
    await until(pool, "SELECT status = 'completed' FROM jobs")


async def test_what_is_retried_when_the_run_is_over_waits_for_the_jobs_end(pool: asyncpg.Pool) -> None:
    """It would be ended with the others."""
    accepted = await submit(pool, order(vendor_image("a"), vendor_image("b")), run_limit_seconds=3600)
    await cancel_job(pool, accepted.job_id, image_ids=["b"])
    await pass_time(pool, 3601)

    with pytest.raises(Conflict, match="is over"):
        await retry(pool, accepted.job_id, account="default", run_limit_seconds=3600)

    assert [row["status"] for row in await images_of(pool, accepted.job_id)] == ["queued", "canceled"]
