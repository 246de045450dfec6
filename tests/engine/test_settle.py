"""One transaction per truth: the image, its outputs, the job's end and the log change together or not at all."""

from __future__ import annotations

import asyncpg
import pytest

from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.ids import JobId, new_attempt_id
from safelight.domain.lifecycle import ImageStatus
from safelight.engine.image import settle
from safelight.engine.image.advance import StoredRendition
from safelight.engine.image.lease import Lease
from safelight.engine.image.outcome import Ended, ImageError, Opened
from safelight.storage.staging import Receipt
from tests.engine import alone
from tests.engine.by_hand import admitted_one, receipt_of
from tests.engine.test_claim import register, take
from tests.orders import attempts_of, event_types, image, images_of, job_row

CARD = StoredRendition(
    name="card", key="a/b.jpg", format="jpeg", mime="image/jpeg", width_px=1, height_px=1, length=1, sha256="0" * 64
)


async def uploading(pool: asyncpg.Pool, queue: asyncpg.Pool) -> tuple[JobId, Lease]:
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"))
    lease = await take(pool, hint, worker)
    assert lease is not None
    await pool.execute("UPDATE images SET status = 'uploading'")
    return job_id, lease.moved(ImageStatus.UPLOADING)


async def test_the_last_picture_ends_its_job_without_waiting_for_the_sweep(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    job_id, lease = await uploading(pool, queue)
    assert await alone.complete(pool, lease, "att_1", [CARD]) == Ended(ImageStatus.COMPLETED)
    assert (await job_row(pool, job_id))["status"] == "completed"
    assert (await event_types(pool, job_id))[-2:] == ["image.completed", "job.completed"]


async def test_the_last_failure_ends_its_job_without_waiting_for_the_sweep(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    job_id, lease = await uploading(pool, queue)
    error = ImageError(kind=ErrorKind.PERMANENT, code="NO", message="No.", billed=Billed.NO)
    assert await settle.end(pool, lease, ImageStatus.FAILED, error) == Ended(ImageStatus.FAILED)
    assert (await job_row(pool, job_id))["status"] == "failed"
    assert (await event_types(pool, job_id))[-2:] == ["image.failed", "job.failed"]


@pytest.mark.parametrize("refused", ["image.completed", "job.completed"])
async def test_a_picture_whose_event_cannot_be_written_is_not_completed(
    refused: str, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    job_id, lease = await uploading(pool, queue)
    await pool.execute(
        "CREATE FUNCTION refuse_event() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF NEW.type = '{refused}' THEN RAISE EXCEPTION 'refused'; END IF; RETURN NEW; END $$"
    )
    await pool.execute(
        "CREATE TRIGGER refuse_event BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse_event()"
    )
    before = [await images_of(pool, job_id), await job_row(pool, job_id), await event_types(pool, job_id)]
    with pytest.raises(asyncpg.RaiseError):
        await alone.complete(pool, lease, "att_1", [CARD])
    assert [await images_of(pool, job_id), await job_row(pool, job_id), await event_types(pool, job_id)] == before
    assert await pool.fetchval("SELECT count(*) FROM renditions") == 0


async def test_a_picture_of_which_nothing_is_kept_is_receipted_and_completed_in_one_transaction(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    """Said again after a COMMIT that was not confirmed, it stays one receipt and one end."""
    job_id, lease, receipt = await generating(pool, queue)
    for _ in range(2):
        assert await alone.receive_and_complete(pool, lease, receipt) == Ended(ImageStatus.COMPLETED)
    assert (await event_types(pool, job_id))[-3:] == ["image.received", "image.completed", "job.completed"]
    written = "SELECT count(DISTINCT xact) FROM events WHERE type IN ('image.received', 'job.completed')"
    assert await pool.fetchval(written) == 1
    [attempt] = await attempts_of(pool, job_id)
    assert (attempt["status"], attempt["cost_microusd"]) == ("settled", receipt.cost_microusd)


async def test_a_picture_of_which_nothing_is_kept_does_not_complete_an_image_that_was_canceled(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    job_id, lease, receipt = await generating(pool, queue)
    await pool.execute("UPDATE images SET stop = 'cancel'")
    assert await alone.receive_and_complete(pool, lease, receipt) == Ended(ImageStatus.CANCELED)
    assert (await job_row(pool, job_id))["status"] == "canceled"
    [attempt] = await attempts_of(pool, job_id)
    assert attempt["status"] == "received", "paid for, and kept for a retry"


async def generating(pool: asyncpg.Pool, queue: asyncpg.Pool) -> tuple[JobId, Lease, Receipt]:
    worker = await register(pool)
    job_id, hint = await admitted_one(pool, queue, image("img"), outputs=())
    lease = await take(pool, hint, worker)
    assert lease is not None
    attempt_id = new_attempt_id()
    assert isinstance(await alone.open_attempt(pool, lease, attempt_id, call_seconds=10, grace_seconds=10), Opened)
    return job_id, lease.moved(ImageStatus.GENERATING), receipt_of(lease, attempt_id, b"a picture")
