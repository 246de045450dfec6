"""A step that breaks off inside Safelight: the worker lives, the image is handed back, nothing is bought again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg

from safelight.domain.lifecycle import ImageStatus, JobStatus
from safelight.engine import settle
from safelight.engine.outcome import Ended, Released
from safelight.engine.settle import BROKEN_STEPS_LIMIT
from safelight.engine.submit import submit
from safelight.engine.worker import Worker
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
