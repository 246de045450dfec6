"""How far a job is, posted now and then: coalesced, sent once, and never after the end."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg

from safelight.domain.events import EventType
from safelight.domain.ids import JobId
from safelight.engine.image.journal import append_event, locked_job
from tests.delivery.receiver import Message, Receiver, status
from tests.delivery.stage import QUICK, courier, deliveries, endpoint, happen, job, nothing_waits
from tests.engine.by_hand import pass_time
from tests.orders import until

SLOW = replace(QUICK, progress_seconds=60.0)
TEN = [f"image-{number}" for number in range(10)]


async def complete(pool: asyncpg.Pool, job_id: JobId, *image_ids: str) -> None:
    for each in image_ids:
        async with locked_job(pool, job_id) as (conn, _job):
            await conn.execute("UPDATE jobs SET status = 'generating' WHERE id = $1", job_id)
            await conn.execute("UPDATE images SET status = 'completed' WHERE job_id = $1 AND id = $2", job_id, each)
            await append_event(conn, job_id, EventType.IMAGE_COMPLETED, image_id=each)


async def end(pool: asyncpg.Pool, job_id: JobId) -> None:
    async with locked_job(pool, job_id) as (conn, _job):
        await conn.execute("UPDATE jobs SET status = 'completed' WHERE id = $1", job_id)
        await append_event(conn, job_id, EventType.JOB_COMPLETED)


async def test_progress_is_told_at_once_and_then_not_before_its_time(pool: asyncpg.Pool, receiver: Receiver):
    _, secret = await endpoint(pool, receiver.url(), "job.progress")
    async with courier(pool, pace=SLOW):
        job_id = await job(pool, *TEN)
        await complete(pool, job_id, TEN[0])
        await receiver.has(1)
        await until(pool, "SELECT bool_and(claim_token IS NULL) FROM webhook_lanes")
        await complete(pool, job_id, *TEN[1:8])
        waiting = await pool.fetchrow("SELECT next_at > safelight.now() + interval '50 seconds' FROM webhook_lanes")
        assert waiting is not None
        assert waiting[0], "what ends meanwhile is told together, when its time has come"
        await pass_time(pool, 60)
        await receiver.has(2)
        await nothing_waits(pool)

    first, second = [each.verified(secret) for each in receiver.messages]
    assert (first["type"], first["data"]["progress"], second["data"]["progress"]) == ("job.progress", 10, 80)
    assert second["data"]["counts"]["completed"] == 8
    assert second["data"]["status"] == "generating"
    assert second["data"]["current_step"]
    assert second["data"]["job_id"] == job_id
    assert len({each.id for each in receiver.messages}) == 2
    assert [row["status"] for row in await deliveries(pool)] == ["delivered"] * 2


async def test_an_image_that_ends_while_progress_is_told_is_told_of_again(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url(), "job.progress")
    job_id = await job(pool, *TEN)

    async def end_another(_message: Message, writer: asyncio.StreamWriter) -> None:
        if len(receiver.messages) == 1:
            await complete(pool, job_id, TEN[1])
        await status(204)(_message, writer)

    receiver.answer = end_another
    async with courier(pool):
        await complete(pool, job_id, TEN[0])
        await receiver.has(2)
        await nothing_waits(pool)

    assert [each.document["data"]["progress"] for each in receiver.messages] == [10, 20]


async def test_progress_is_sent_once_and_then_given_up(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url(), "job.progress", "job.completed")
    receiver.answer = status(500)
    async with courier(pool):
        job_id = await job(pool, *TEN)
        await complete(pool, job_id, TEN[0])
        await nothing_waits(pool)
        receiver.answer = status(204)
        await end(pool, job_id)
        await nothing_waits(pool)

    assert [each.type for each in receiver.messages] == ["job.progress", "job.completed"]
    assert [row["status"] for row in await deliveries(pool)] == ["dead", "delivered"]


async def test_no_progress_is_told_after_the_end(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url(), "job.progress", "job.completed")
    async with courier(pool, pace=SLOW):
        job_id = await job(pool, *TEN)
        await complete(pool, job_id, TEN[0])
        await receiver.has(1)
        await complete(pool, job_id, *TEN[1:])
        await end(pool, job_id)
        await receiver.has(2)
        await pass_time(pool, 61)
        await nothing_waits(pool)

    assert [each.type for each in receiver.messages] == ["job.progress", "job.completed"]


async def test_an_event_is_not_kept_waiting_by_progress_that_is_not_due(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url(), "job.progress", "job.started")
    async with courier(pool, pace=SLOW):
        job_id = await job(pool, *TEN)
        await complete(pool, job_id, TEN[0])
        await receiver.has(1)
        await complete(pool, job_id, TEN[1])
        await happen(pool, job_id, EventType.JOB_STARTED)
        await receiver.has(2)

    assert [each.type for each in receiver.messages] == ["job.progress", "job.started"]


async def test_a_lane_that_never_had_a_message_leaves_nothing_behind(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url(), "job.progress")
    job_id = await job(pool)
    await complete(pool, job_id, "one")
    await end(pool, job_id)
    async with courier(pool):
        await until(pool, "SELECT NOT EXISTS (SELECT FROM webhook_lanes)")

    assert receiver.messages == []
