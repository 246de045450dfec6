"""What a worker finds when it claims an image that another one worked on: staged bytes, an open call, a lost one."""

from __future__ import annotations

import asyncpg
import pytest

from safelight.settings import Settings
from tests.engine.by_hand import admit_again, admitted_one, pass_time, picture, pipeline_of, receipt_of, run, staging_of
from tests.engine.test_claim import register, take
from tests.orders import attempts_of, event_types, image, images_of

TIMEOUT_SECONDS = 100.0
GRACE_SECONDS = 20.0


async def test_staged_bytes_are_adopted_by_the_next_claim_itself(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    """They outrank the wait for a call that may still answer, and no sweep is needed."""
    first, second = await register(pool), await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    async with pipeline_of(settings, pool, first) as pipeline:
        lease = await take(pool, hint, first)
        assert lease is not None
        sent = await pipeline.commit(lease)
        assert sent is not None
    await staging_of(settings).stage(receipt_of(lease, sent.id, picture()), picture())

    async with pipeline_of(settings, pool, second) as pipeline:
        await run(pipeline, hint)
    [row] = await images_of(pool, job_id)
    assert row["status"] == "completed"
    [attempt] = await attempts_of(pool, job_id)
    assert (attempt["id"], attempt["status"], attempt["cost_microusd"]) == (sent.id, "settled", 33_600)
    assert await staging_of(settings).pending() == []


async def test_nothing_is_bought_between_a_call_s_deadline_and_the_end_of_its_grace(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    settings = settings.model_copy(update={"grace_seconds": GRACE_SECONDS})
    first, second = await register(pool), await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img", timeout_seconds=TIMEOUT_SECONDS))
    async with pipeline_of(settings, pool, first) as pipeline:
        lease = await take(pool, hint, first)
        assert lease is not None
        assert await pipeline.commit(lease) is not None

    async with pipeline_of(settings, pool, second) as pipeline:
        await pass_time(pool, TIMEOUT_SECONDS + GRACE_SECONDS / 2)
        await run(pipeline, hint)
        [attempt] = await attempts_of(pool, job_id)
        assert attempt["status"] == "sent", "it may still answer"
        [row] = await images_of(pool, job_id)
        assert (row["status"], row["not_before"]) == ("queued", attempt["resolve_at"])

        await pass_time(pool, GRACE_SECONDS)
        hint = await admit_again(pool, queue)
        await run(pipeline, hint)
        assert [a["status"] for a in await attempts_of(pool, job_id)] == ["unknown"]
        [row] = await images_of(pool, job_id)
        assert (row["status"], row["lane"]) == ("queued", "finish"), "that lane resolves and never buys"

        await run(pipeline, await admit_again(pool, queue))
    assert [a["status"] for a in await attempts_of(pool, job_id)] == ["unknown", "settled"]


async def test_a_worker_that_was_told_to_stop_hands_back_what_it_would_have_to_buy(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    async with pipeline_of(settings, pool, worker) as pipeline:
        pipeline.draining.set()
        await run(pipeline, hint)
    assert [row["status"] for row in await images_of(pool, job_id)] == ["queued"]
    assert await attempts_of(pool, job_id) == []
    assert await event_types(pool, job_id) == ["job.created"]


async def test_what_was_stopped_or_overdue_since_the_look_back_is_not_bought(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    """`commit` asks once more, under the locks."""
    worker = await register(pool)
    for change in (
        "UPDATE images SET stop = 'cancel' WHERE status = 'processing'",
        "UPDATE jobs SET run_ends_at = safelight.now() WHERE status = 'pending'",
        "UPDATE installation SET paused_at = safelight.now()",
    ):
        job_id, hint = await admitted_one(pool, queue, image("img"))
        lease = await take(pool, hint, worker)
        assert lease is not None
        await pool.execute(change)
        mine = len(await attempts_of(pool, job_id))
        async with pipeline_of(settings, pool, worker) as pipeline:
            assert await pipeline.commit(lease) is None
        assert len(await attempts_of(pool, job_id)) == mine, change
        assert "image.started" not in await event_types(pool, job_id)


async def test_the_database_itself_holds_an_image_to_one_unresolved_attempt(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    _, hint = await admitted_one(pool, queue, image("img"))
    lease = await take(pool, hint, worker)
    assert lease is not None
    async with pipeline_of(settings, pool, worker) as pipeline:
        assert await pipeline.commit(lease) is not None
    with pytest.raises(asyncpg.UniqueViolationError):
        await pool.execute(
            "INSERT INTO attempts (id, image_row_id, number, run, provider, model, fingerprint, claim_token, worker_id,"
            " sent_at, deadline_at, resolve_at)"
            " SELECT 'att_second', image_row_id, 2, run, provider, model, fingerprint,"
            " claim_token, worker_id, sent_at, deadline_at, resolve_at FROM attempts"
        )
