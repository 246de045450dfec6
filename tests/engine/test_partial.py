"""13 of 14: a refusal is a result, and a retry keeps what is there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.control import retry
from safelight.engine.orders.submit import submit
from safelight.engine.queue.worker import Worker
from safelight.sandbox.server import RunningSandbox
from tests.orders import attempts_of, ended, event_types, images_of, order, vendor_image

Start = Callable[[], AbstractAsyncContextManager[Worker]]


@pytest.mark.parametrize(
    ("script", "code", "billed"),
    [("refuse IMAGE_SAFETY", "IMAGE_SAFETY", "yes"), ("refuse-prompt PROHIBITED_CONTENT", "PROHIBITED_CONTENT", "no")],
)
async def test_13_of_14_is_partial_and_a_retry_keeps_the_13_and_buys_one(
    pool: asyncpg.Pool, sandbox: RunningSandbox, start_worker: Start, script: str, code: str, billed: str
) -> None:
    images = [vendor_image(f"img-{n}", script if n == 5 else "") for n in range(14)]
    accepted = await submit(pool, order(*images), run_limit_seconds=3600)
    async with start_worker():
        assert await ended(pool, accepted.job_id) is JobStatus.PARTIAL
        before = await images_of(pool, accepted.job_id)
        refused = before[5]
        assert refused["status"] == "refused"
        assert refused["failure_stage"] == "generating"
        assert refused["error"]["kind"] == "SAFETY"
        assert refused["error"]["code"] == code
        assert refused["error"]["billed"] == billed
        assert refused["error"]["retryable"] is False
        assert sorted(row["status"] for row in before) == ["completed"] * 13 + ["refused"]
        assert len(sandbox.vendor.calls) == 14

        mild = {"img-5": "Something else"}
        retried = await retry(pool, accepted.job_id, account="default", prompts=mild, run_limit_seconds=3600)
        assert retried == 1
        assert await ended(pool, accepted.job_id) is JobStatus.COMPLETED
    assert len(sandbox.vendor.calls) == 15, "one call for one image"
    after = await images_of(pool, accepted.job_id)
    for n in range(14):
        if n != 5:
            assert dict(after[n]) == dict(before[n]), "completed images are for ever"
    assert after[5]["retry_count"] == 1
    types = await event_types(pool, accepted.job_id)
    assert types.count("job.partial") == types.count("job.retried") == types.count("job.completed") == 1
    attempts = await attempts_of(pool, accepted.job_id)
    known = sum(attempt["cost_microusd"] for attempt in attempts)
    assert known == sandbox.vendor.bill.total_microusd, "our book equals the vendor's bill to the micro-dollar"
