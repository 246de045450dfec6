"""A job that is not to begin yet: nothing happens before, and its deadlines count from then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg

from safelight.domain.fallback import Target
from safelight.domain.ids import JobId
from safelight.engine.orders.control import CancelMode, cancel, retry
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import admit
from safelight.engine.timing import Timing
from safelight.engine.watch.doctor import examine
from safelight.settings import Settings
from tests.engine.by_hand import pass_time, swept
from tests.engine.families import family
from tests.engine.test_claim import register
from tests.orders import image, images_of, job_row, order

HOUR_SECONDS = 3600
RUN_LIMIT_SECONDS = 86_400


async def in_an_hour(pool: asyncpg.Pool, *, fallbacks: tuple[Target, ...] = (), **job: object) -> JobId:
    placed = order(replace(image("a"), fallbacks=fallbacks), **job)  # pyright: ignore[reportArgumentType]
    placed = replace(placed, not_before=datetime.now(UTC) + timedelta(hours=1))
    return (await submit(pool, placed, run_limit_seconds=RUN_LIMIT_SECONDS)).job_id


async def admitted(pool: asyncpg.Pool, queue: asyncpg.Pool) -> int:
    await register(pool)
    return await admit(queue, max_concurrency={"placeholder": 8}, lease_seconds=15)


async def test_no_image_is_admitted_before_and_every_one_after(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await in_an_hour(pool)
    assert await admitted(pool, queue) == 0
    await pass_time(pool, HOUR_SECONDS + 1)
    assert await admitted(pool, queue) == 1


async def test_the_deadline_and_the_end_of_the_run_count_from_then(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    waiting = await in_an_hour(pool, deadline_seconds=600.0, on_deadline="fail")
    patient = await in_an_hour(pool, deadline_seconds=600.0)
    row = await job_row(pool, waiting)
    assert row["deadline_at"] == row["run_ends_at"] == row["not_before"] + timedelta(seconds=600)
    row = await job_row(pool, patient)
    assert row["run_ends_at"] == row["not_before"] + timedelta(seconds=RUN_LIMIT_SECONDS)
    await pass_time(pool, HOUR_SECONDS + 590)
    assert (await swept(settings, pool, queue)).total == 0
    await pass_time(pool, 20)
    await swept(settings, pool, queue)
    assert [(await job_row(pool, each))["status"] for each in (waiting, patient)] == ["failed", "pending"]


async def test_a_time_that_has_passed_is_now(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    placed = replace(order(image("a")), not_before=datetime(2026, 1, 1, tzinfo=UTC))
    job_id = (await submit(pool, placed, run_limit_seconds=RUN_LIMIT_SECONDS)).job_id
    row = await job_row(pool, job_id)
    assert row["run_started_at"] == row["created_at"]
    assert await admitted(pool, queue) == 1


async def test_a_retry_starts_at_once(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    job_id = await in_an_hour(pool)
    await cancel(pool, job_id, account="default", mode=CancelMode.FINISH)
    await retry(pool, job_id, account="default", run_limit_seconds=RUN_LIMIT_SECONDS)
    assert await admitted(pool, queue) == 1
    row = await job_row(pool, job_id)
    assert row["deadline_at"] == row["run_started_at"] + timedelta(hours=1) < row["not_before"] + timedelta(hours=1)


async def test_a_provider_that_is_paused_is_not_left_before_the_job_begins(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    spare = Target(provider="spare", model="m", options={}, timeout_seconds=20.0, estimate_microusd=None)
    job_id = await in_an_hour(pool, fallbacks=(spare,))
    await pool.execute(
        "INSERT INTO gates (provider, model, shut_at, probe_at)"
        " VALUES ('placeholder', '', safelight.now(), safelight.now() + interval '1 day')"
    )
    assert (await swept(settings, pool, queue)).moved_on == 0
    await pass_time(pool, HOUR_SECONDS + 1)
    assert (await swept(settings, pool, queue)).moved_on == 1
    assert [row["provider"] for row in await images_of(pool, job_id)] == ["spare"]


async def test_the_doctor_says_what_is_waited_for(pool: asyncpg.Pool, database: str) -> None:
    async def why() -> str:
        report = await examine(database, receipts=[], max_concurrency={}, timing=Timing())
        [backlog] = [check for check in report.checks if check.name == "backlog"]
        return backlog.meaning

    await in_an_hour(pool)
    assert (await why()).startswith("Its job is not to begin for another ")
    job_id = await family(pool, {"parent": "", "child": "parent"})
    await pool.execute("UPDATE images SET changed_at = '2026-01-01' WHERE id = 'child'")
    assert "No worker takes" in await why(), "the image that could go is told of first"
    await pool.execute("UPDATE images SET status = 'generating', claim_token = gen_random_uuid() WHERE id = 'parent'")
    await pool.execute("DELETE FROM images WHERE id = 'a'")
    assert await why() == "It awaits the pictures of images that it references.", job_id
