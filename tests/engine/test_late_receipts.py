"""Pictures that come after their image has ended: when they open it again, and how often."""

from __future__ import annotations

from dataclasses import replace

import asyncpg

from safelight.domain.attempts import OnUncertain
from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.lifecycle import ImageStatus
from safelight.engine.image import provider_book, settle
from safelight.engine.image.outcome import Ended, ImageError
from safelight.engine.image.settle import BROKEN_STEPS_LIMIT
from safelight.engine.queue.sweep import Findings
from safelight.settings import Settings
from tests.engine.by_hand import picture, receipt_of, swept
from tests.engine.test_sweep import slow_image, with_a_call_open
from tests.orders import job_row


async def test_an_image_that_failed_inside_safelight_with_its_picture_at_hand_is_not_opened_again_and_again(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    """`INTERNAL` has the kind of an unknown outcome; else the sweep would open it for ever, four events a time."""
    job_id, _, lease, attempt_id = await with_a_call_open(pool, queue, settings, slow_image())
    await provider_book.insert_receipt(pool, receipt_of(lease, attempt_id, picture()))
    broken = replace(lease, broken_steps=BROKEN_STEPS_LIMIT)
    assert await settle.hand_back(pool, broken, retry_unit_seconds=0.0) == Ended(ImageStatus.FAILED)
    await pool.execute("DELETE FROM pgqueuer")
    assert await swept(settings, pool, queue) == Findings()
    assert (await job_row(pool, job_id))["run"] == 1


async def test_an_image_that_was_opened_for_its_late_picture_is_no_orphan_while_its_hint_is_on_its_way(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    """The hint's id is noted on the image; else the next sweep would take the image for lost and re-queue it."""
    order = slow_image(on_uncertain=OnUncertain.HOLD)
    _, _, lease, attempt_id = await with_a_call_open(pool, queue, settings, order)
    error = ImageError(kind=ErrorKind.UNKNOWN, code="OUTCOME_UNKNOWN", message="Lost.", billed=Billed.UNKNOWN)
    await settle.end(pool, lease, ImageStatus.UNCERTAIN, error)
    await provider_book.insert_receipt(pool, receipt_of(lease, attempt_id, picture()))
    assert await swept(settings, pool, queue) == Findings(adopted=1)
    assert await swept(settings, pool, queue) == Findings()
