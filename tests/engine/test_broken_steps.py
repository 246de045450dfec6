"""A step that breaks off inside Safelight: the worker lives, the image is handed back, nothing is bought again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg

from safelight.domain.lifecycle import ImageStatus, JobStatus
from safelight.engine.image import settle
from safelight.engine.image.outcome import Ended, Released
from safelight.engine.image.settle import BROKEN_STEPS_LIMIT
from safelight.engine.orders.submit import submit
from safelight.engine.queue.worker import Worker
from safelight.sandbox.server import RunningSandbox
from safelight.settings import Settings
from tests.engine.by_hand import admit_again, admitted_one
from tests.engine.test_claim import register, take
from tests.orders import attempts_of, ended, image, images_of, order, vendor_image

Start = Callable[[], AbstractAsyncContextManager[Worker]]


async def break_off(pool: asyncpg.Pool, event: str, *, times: int) -> None:
    """The next transactions that would write this event fail. A sequence counts, for it does not roll back."""
    await pool.execute("CREATE SEQUENCE broken")
    await pool.execute(
        "CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF NEW.type = '{event}' THEN IF nextval('broken') <= {times} THEN RAISE EXCEPTION 'broken'; END IF; END IF;"
        " RETURN NEW; END $$"
    )
    await pool.execute("CREATE TRIGGER break_off BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION break_off()")


async def test_an_image_whose_step_broke_off_is_handed_back_and_its_staged_picture_is_used(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    await break_off(pool, "image.received", times=2)
    accepted = await submit(pool, order(vendor_image("img", timeout_seconds=60)), run_limit_seconds=3600)
    async with start_worker():
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED
    assert len(sandbox.vendor.calls) == 1, "paid for once"
    assert [a["status"] for a in await attempts_of(pool, accepted.job_id)] == ["settled"]
    [row] = await images_of(pool, accepted.job_id)
    assert row["crash_count"] == 0, "nobody died"


async def test_an_image_is_handed_back_so_often_and_then_ends(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    for failures in range(1, BROKEN_STEPS_LIMIT + 1):
        lease = await take(pool, hint, worker)
        assert lease is not None
        assert await settle.hand_back(pool, lease, retry_unit_seconds=0.0) == Released()
        assert [row["broken_steps"] for row in await images_of(pool, job_id)] == [failures]
        hint = await admit_again(pool, queue)
    lease = await take(pool, hint, worker)
    assert lease is not None
    assert await settle.hand_back(pool, lease, retry_unit_seconds=0.0) == Ended(ImageStatus.FAILED)
    [row] = await images_of(pool, job_id)
    assert (row["error"]["kind"], row["error"]["code"]) == ("UNKNOWN", "INTERNAL")


async def test_a_step_that_came_to_its_end_begins_the_count_anew(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    """A vendor's job is looked after for hours, and now and then the database is gone for a moment."""
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    for _ in range(BROKEN_STEPS_LIMIT + 1):
        lease = await take(pool, hint, worker)
        assert lease is not None
        assert await settle.hand_back(pool, lease, retry_unit_seconds=0.0) == Released()
        lease = await take(pool, await admit_again(pool, queue), worker)
        assert lease is not None
        await settle.release(pool, lease)
        hint = await admit_again(pool, queue)
    [row] = await images_of(pool, job_id)
    assert row["status"] == "queued"


async def test_a_picture_whose_last_step_always_breaks_off_is_not_worked_on_for_ever(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    await break_off(pool, "image.completed", times=10_000)
    accepted = await submit(pool, order(vendor_image("img", timeout_seconds=60)), run_limit_seconds=3600)
    async with start_worker():
        assert await ended(pool, accepted.job_id) is JobStatus.FAILED
    [row] = await images_of(pool, accepted.job_id)
    assert row["error"]["code"] == "INTERNAL"
    assert [a["status"] for a in await attempts_of(pool, accepted.job_id)] == ["received"], "a retry uses it for free"
    assert len(sandbox.vendor.calls) == 1
