"""What goes first: priority, then the time from which it was due, then the order in which it was asked for."""

from __future__ import annotations

from dataclasses import replace

import asyncpg

from safelight.domain.ids import JobId
from safelight.domain.order import Priority
from safelight.engine.orders.control import CancelMode, cancel, retry
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import admit
from safelight.settings import Settings
from tests.engine.by_hand import pass_time, swept
from tests.engine.test_claim import register
from tests.orders import event_types, image, images_of, job_row, order

ANY_LEASE = 1e9


async def ordered(
    pool: asyncpg.Pool,
    *image_ids: str,
    priority: Priority = Priority.NORMAL,
    model: str = "placeholder-1",
    **job: object,
) -> JobId:
    images = [image(each, model=model) for each in image_ids]
    placed = replace(order(*images, **job), priority=priority)  # pyright: ignore[reportArgumentType]
    return (await submit(pool, placed, run_limit_seconds=86_400)).job_id


async def handed_out(pool: asyncpg.Pool, queue: asyncpg.Pool, *, calls: int) -> list[str]:
    """So many images more, in the order of their queue rows, which is that in which workers take them."""
    await admit(queue, max_concurrency={"placeholder": calls}, lease_seconds=ANY_LEASE)
    rows = await pool.fetch("SELECT id FROM images WHERE admitted_at IS NOT NULL ORDER BY queue_row_id")
    return [row["id"] for row in rows]


async def test_what_is_more_urgent_goes_first_and_what_is_equal_goes_as_it_was_ordered(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=100)
    await ordered(pool, "low-1", "low-2", priority=Priority.LOW)
    await ordered(pool, "normal-1", "normal-2")
    await ordered(pool, "normal-3")
    await ordered(pool, "high-1", "high-2", priority=Priority.HIGH)
    expected = ["high-1", "high-2", "normal-1", "normal-2", "normal-3", "low-1", "low-2"]
    assert await handed_out(pool, queue, calls=4) == expected[:4]
    assert await handed_out(pool, queue, calls=99) == expected


async def test_the_last_free_slot_goes_to_the_most_urgent_image_of_all_models(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=1)
    await ordered(pool, "normal", model="one")
    await ordered(pool, "high", model="two", priority=Priority.HIGH)
    await ordered(pool, "low", model="three", priority=Priority.LOW)
    assert await handed_out(pool, queue, calls=9) == ["high"]


async def test_what_is_urgent_and_not_due_keeps_nothing_back(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool, slots=100)
    await ordered(pool, "low", priority=Priority.LOW)
    await ordered(pool, "high", priority=Priority.HIGH)
    await pool.execute("UPDATE images SET not_before = safelight.now() + interval '1 min' WHERE id = 'high'")
    assert await handed_out(pool, queue, calls=1) == ["low"]


async def test_the_probe_of_a_provider_that_is_paused_is_the_most_urgent_image(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=100)
    for priority in reversed(Priority):
        await ordered(pool, f"{priority.word}-1", f"{priority.word}-2", priority=priority)
    await pool.execute(
        "INSERT INTO gates (provider, model, shut_at, probe_at)"
        " VALUES ('placeholder', 'placeholder-1', safelight.now(), safelight.now())"
    )
    assert await handed_out(pool, queue, calls=9) == ["high-1"]


async def test_what_goes_on_after_its_deadline_waits_behind_everything_in_its_own_order(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    late = await ordered(pool, "late-1", "late-2", priority=Priority.HIGH, deadline_seconds=60.0)
    await pass_time(pool, 61)
    assert (await swept(settings, pool, queue)).deadlines == 1
    assert (await swept(settings, pool, queue)).total == 0
    assert (await job_row(pool, late))["deadline_passed"]
    assert await event_types(pool, late) == ["job.created", "job.deadline_passed"]
    await ordered(pool, "low", priority=Priority.LOW)
    await register(pool, slots=100)
    assert await handed_out(pool, queue, calls=9) == ["low", "late-1", "late-2"]


async def test_a_retry_takes_the_jobs_own_priority_again(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    late = await ordered(pool, "late", priority=Priority.HIGH, deadline_seconds=60.0)
    await pass_time(pool, 61)
    await swept(settings, pool, queue)
    assert [row["priority"] for row in await images_of(pool, late)] == [3]
    await cancel(pool, late, account="default", mode=CancelMode.FINISH)
    await retry(pool, late, account="default", run_limit_seconds=86_400)
    assert [row["priority"] for row in await images_of(pool, late)] == [Priority.HIGH]
    assert not (await job_row(pool, late))["deadline_passed"], "a new run"
