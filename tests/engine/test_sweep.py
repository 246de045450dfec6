"""Each rule of the sweep by itself: what it heals, what it leaves alone, and that a second sweep finds nothing."""

from __future__ import annotations

import asyncpg

from safelight.domain.attempts import OnUncertain
from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.order import ImageOrder
from safelight.engine.image import provider_book, settle
from safelight.engine.image.lease import Hint, Lease
from safelight.engine.image.outcome import ImageError
from safelight.engine.queue.sweep import Findings
from safelight.settings import Settings
from tests.engine.by_hand import (
    admit_again,
    admitted_one,
    pass_time,
    picture,
    pipeline_of,
    receipt_of,
    run,
    staging_of,
    swept,
)
from tests.engine.test_claim import fall_silent, register, take
from tests.orders import attempts_of, event_types, image, images_of, job_row

TIMEOUT_SECONDS = 100.0


def slow_image(**rest: object) -> ImageOrder:
    return image("img", timeout_seconds=TIMEOUT_SECONDS, **rest)  # pyright: ignore[reportArgumentType]


async def with_a_call_open(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings, order: ImageOrder
) -> tuple[JobId, Hint, Lease, str]:
    """The image's attempt is committed, and its owner lives."""
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, order)
    lease = await take(pool, hint, worker)
    assert lease is not None
    async with pipeline_of(settings, pool, worker) as pipeline:
        sent = await pipeline.commit(lease)
    assert sent is not None
    return job_id, hint, lease.moved(ImageStatus.GENERATING), sent.id


async def test_staged_bytes_get_their_receipt_unless_their_owner_lives_and_is_about_to_say_so(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    job_id, _, lease, attempt_id = await with_a_call_open(pool, queue, settings, slow_image())
    await staging_of(settings).stage(receipt_of(lease, attempt_id, picture()), picture())
    assert await swept(settings, pool, queue) == Findings()

    await fall_silent(pool, lease.worker_id)
    assert await swept(settings, pool, queue) == Findings(receipts=1)
    assert [a["status"] for a in await attempts_of(pool, job_id)] == ["received"]
    assert await swept(settings, pool, queue) == Findings()


async def test_a_receipt_outranks_an_outcome_that_would_be_booked_as_unknown(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    job_id, _, lease, attempt_id = await with_a_call_open(pool, queue, settings, slow_image())
    await staging_of(settings).stage(receipt_of(lease, attempt_id, picture()), picture())
    await pass_time(pool, 2 * TIMEOUT_SECONDS)
    assert await swept(settings, pool, queue) == Findings(receipts=1, orphans=1)
    assert [a["status"] for a in await attempts_of(pool, job_id)] == ["received"]


async def test_a_call_is_booked_as_unknown_when_it_can_no_longer_answer_and_not_before(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    settings = settings.model_copy(update={"grace_seconds": 20.0})
    job_id, _, _, _ = await with_a_call_open(pool, queue, settings, slow_image())
    await pass_time(pool, TIMEOUT_SECONDS + 10)
    await pool.execute("UPDATE workers SET heartbeat_at = safelight.now()")
    assert await swept(settings, pool, queue) == Findings()
    await pass_time(pool, 11)
    assert await swept(settings, pool, queue) == Findings(unknown=1)
    [attempt] = await attempts_of(pool, job_id)
    assert (attempt["status"], attempt["cost_microusd"], attempt["cost_basis"]) == ("unknown", None, "unknown")


async def test_files_of_attempts_that_need_them_no_more_are_removed_and_of_unknown_origin_are_kept(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    _, _, lease, attempt_id = await with_a_call_open(pool, queue, settings, slow_image())
    staging = staging_of(settings)
    await staging.stage(receipt_of(lease, attempt_id, picture()), picture())
    await staging.stage(receipt_of(lease, "att_of_another_database", picture()), picture())
    await fall_silent(pool, lease.worker_id)
    await pool.execute("UPDATE attempts SET status = 'settled'")
    assert await swept(settings, pool, queue) == Findings(leftovers=1)
    assert [receipt.attempt_id for receipt in await staging.pending()] == ["att_of_another_database"]


async def test_an_image_of_a_dead_worker_is_re_queued_only_when_no_queue_row_brings_it_back(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    assert await take(pool, hint, worker)
    await fall_silent(pool, worker)
    assert await swept(settings, pool, queue) == Findings()
    await pool.execute("DELETE FROM pgqueuer")
    assert await swept(settings, pool, queue) == Findings(orphans=1)
    [row] = await images_of(pool, job_id)
    assert (row["status"], row["crash_count"], row["crash_owner"]) == ("queued", 1, worker)
    assert await swept(settings, pool, queue) == Findings()


async def test_an_image_of_a_living_worker_is_left_alone_without_its_queue_row(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    _, hint = await admitted_one(pool, queue, image("img"))
    assert await take(pool, hint, worker)
    await pool.execute("DELETE FROM pgqueuer")
    assert await swept(settings, pool, queue) == Findings()


async def test_an_admitted_image_whose_hint_is_gone_is_handed_over_again(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    settings = settings.model_copy(update={"admission_seconds": 10.0})
    _, lost = await admitted_one_with_a_worker(pool, queue)
    await pool.execute("DELETE FROM pgqueuer")
    assert await swept(settings, pool, queue) == Findings(), "it may be on its way"
    await pass_time(pool, 11)
    assert await swept(settings, pool, queue) == Findings(lost_hints=1)
    again = await admit_again(pool, queue)
    assert again.generation == lost.generation + 1
    await pass_time(pool, 11)
    assert await swept(settings, pool, queue) == Findings(), "its hint is there"


async def admitted_one_with_a_worker(pool: asyncpg.Pool, queue: asyncpg.Pool) -> tuple[JobId, Hint]:
    await register(pool)
    return await admitted_one(pool, queue, image("img"))


async def test_a_waiting_image_that_was_asked_to_stop_ends_when_its_call_is_resolved(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    job_id, _, lease, _ = await with_a_call_open(pool, queue, settings, slow_image())
    await settle.release(pool, lease, after_seconds=2 * TIMEOUT_SECONDS)
    await pool.execute("UPDATE images SET stop = 'cancel'")
    assert await swept(settings, pool, queue) == Findings()
    await pass_time(pool, TIMEOUT_SECONDS + 30)
    assert await swept(settings, pool, queue) == Findings(unknown=1, stopped=1)
    assert (await job_row(pool, job_id))["status"] == "canceled"
    assert await swept(settings, pool, queue) == Findings()


async def test_a_passed_deadline_is_said_once_and_a_run_past_its_end_is_ended(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    job_id, _ = await admitted_one(pool, queue, image("img"), deadline_seconds=60.0)
    await pass_time(pool, 61)
    assert await swept(settings, pool, queue) == Findings(deadlines=1, lost_hints=1)
    assert await swept(settings, pool, queue) == Findings()
    assert (await job_row(pool, job_id))["status"] == "pending", "`continue`: the run goes on"

    await pass_time(pool, 3600)
    hint = await admit_again(pool, queue)
    lease = await take(pool, hint, worker)
    assert lease is not None
    await pool.execute("UPDATE workers SET heartbeat_at = safelight.now()")
    assert await swept(settings, pool, queue) == Findings(overdue=1)
    assert [row["stop"] for row in await images_of(pool, job_id)] == ["deadline"], "its owner ends it"
    await settle.release(pool, lease)
    assert await swept(settings, pool, queue) == Findings(stopped=1)
    assert (await job_row(pool, job_id))["status"] == "failed"
    types = await event_types(pool, job_id)
    assert types == ["job.created", "job.deadline_passed", "image.failed", "job.failed"]


async def test_an_image_that_ended_without_its_paid_picture_opens_again_and_is_finished(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    order = slow_image(on_uncertain=OnUncertain.HOLD)
    job_id, _, lease, attempt_id = await with_a_call_open(pool, queue, settings, order)
    await pass_time(pool, 2 * TIMEOUT_SECONDS)
    error = ImageError(kind=ErrorKind.UNKNOWN, code="OUTCOME_UNKNOWN", message="Lost.", billed=Billed.UNKNOWN)
    await settle.end(pool, lease, ImageStatus.UNCERTAIN, error)
    await pool.execute("DELETE FROM pgqueuer")
    assert await swept(settings, pool, queue) == Findings(unknown=1)
    assert (await job_row(pool, job_id))["status"] == "failed"

    await staging_of(settings).stage(receipt_of(lease, attempt_id, picture()), picture())
    assert await swept(settings, pool, queue) == Findings(receipts=1, adopted=1)
    row = await pool.fetchrow("SELECT q.id, q.entrypoint, i.row_id, i.generation FROM pgqueuer AS q, images AS i")
    assert row is not None
    assert row["entrypoint"] == "finish"
    late = Hint(queue_row_id=row["id"], row_id=row["row_id"], generation=row["generation"])
    async with pipeline_of(settings, pool, await register(pool)) as pipeline:
        await run(pipeline, late)
    assert (await job_row(pool, job_id))["status"] == "completed"
    assert [a["status"] for a in await attempts_of(pool, job_id)] == ["settled"]


async def test_a_picture_that_came_after_the_run_s_end_waits_for_the_user_s_retry(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    for kind in (ErrorKind.DEADLINE, ErrorKind.CRASHED, ErrorKind.STORAGE, ErrorKind.INVALID_OUTPUT):
        _, _, lease, attempt_id = await with_a_call_open(pool, queue, settings, slow_image())
        await provider_book.insert_receipt(pool, receipt_of(lease, attempt_id, picture()))
        error = ImageError(kind=kind, code="ENDED", message="Ended.", billed=Billed.YES)
        await settle.end(pool, lease, ImageStatus.FAILED, error)
        assert await swept(settings, pool, queue) == Findings(), kind


async def test_a_job_whose_images_have_all_ended_is_ended(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    job_id, _ = await admitted_one_with_a_worker(pool, queue)
    await pool.execute("UPDATE images SET status = 'failed', admitted_at = NULL")
    assert await swept(settings, pool, queue) == Findings(unsettled=1)
    assert (await event_types(pool, job_id))[-1] == "job.failed"
    assert await swept(settings, pool, queue) == Findings()
