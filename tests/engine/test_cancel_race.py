"""A cancel and the completion of its job, at any moment of each other: one end, told truly, and paid for as it was."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from safelight.domain.errors import Conflict
from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.control import CancelMode, cancel
from safelight.engine.orders.submit import submit
from safelight.engine.queue.worker import Worker
from safelight.sandbox.server import RunningSandbox
from tests.engine.books import PAYER, assert_books_balance, balance, billed_order, open_account
from tests.orders import attempts_of, ended, event_types, images_of, vendor_image

Start = Callable[[], AbstractAsyncContextManager[Worker]]

AT_ONCE = 6
TERMINAL = {"job.completed", "job.partial", "job.failed", "job.canceled"}


async def one_race(pool: asyncpg.Pool, number: int, *, after_seconds: float) -> str:
    """How the job ended, once everything that must hold of it does."""
    wish = billed_order(vendor_image(f"img-{number}", timeout_seconds=60))
    job_id = (await submit(pool, wish, run_limit_seconds=3600)).job_id
    await asyncio.sleep(after_seconds)  # which moment the cancel meets is the test
    try:
        await cancel(pool, job_id, account=PAYER, mode=CancelMode.FINISH)
        was_too_late = False
    except Conflict:
        was_too_late = True
    status = await ended(pool, job_id)
    [image], attempts = await images_of(pool, job_id), await attempts_of(pool, job_id)
    told = [each for each in await event_types(pool, job_id) if each in TERMINAL]
    assert told == [f"job.{status.value}"], "one end"
    assert status in (JobStatus.COMPLETED, JobStatus.CANCELED)
    assert status is JobStatus.COMPLETED or not was_too_late, "who is told that it had completed is told the truth"
    assert image["status"] == status.value
    assert [a["status"] for a in attempts] in ([], ["received"], ["settled"])
    assert (image["status"] == "completed") == ([a["status"] for a in attempts] == ["settled"])
    hold = await pool.fetchval("SELECT status FROM holds WHERE job_id = $1", job_id)
    assert hold == ("captured" if status is JobStatus.COMPLETED else "released")
    return "that came too late" if was_too_late else f"{status.value} after {len(attempts)} calls"


async def races(pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start, *, count: int) -> Counter[str]:
    await open_account(pool, paid_in=count + 2)
    dice, seen = random.Random(11), Counter[str]()
    async with start_worker():
        took_seconds = 0.0
        for number in range(2):  # how long it takes where nobody cancels
            began = time.monotonic()
            job = await submit(pool, billed_order(vendor_image(f"first-{number}")), run_limit_seconds=3600)
            assert await ended(pool, job.job_id) is JobStatus.COMPLETED
            took_seconds = time.monotonic() - began
        for first in range(0, count, AT_ONCE):
            some = range(first, min(first + AT_ONCE, count))
            moments = [dice.uniform(0, 1.5 * took_seconds) for _ in some]
            seen.update(
                await asyncio.gather(
                    *(one_race(pool, number, after_seconds=at) for number, at in zip(some, moments, strict=True))
                )
            )
    available, held, captured = await balance(pool)
    assert (available + captured, held) == (count + 2, 0)
    booked = await pool.fetchval("SELECT sum(cost_microusd) FROM attempts")
    assert booked == sandbox.vendor.bill.total_microusd, "what was billed is booked, canceled or not"
    await assert_books_balance(pool)
    return seen


async def test_cancel_and_completion_meet_at_some_moments(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start
) -> None:
    seen = await races(pool, sandbox, start_worker, count=AT_ONCE)
    assert seen.total() == AT_ONCE


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_cancel_and_completion_meet_at_a_thousand_moments(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = await races(pool, sandbox, start_worker, count=1000)
    with capsys.disabled():
        print(f"\n{', '.join(f'{many} {what}' for what, many in sorted(seen.items()))}")
    assert len(seen) >= 3, "canceled before a call, canceled after one, and too late"
