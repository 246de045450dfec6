"""SIGTERM is not a crash: what was sent runs to its end, what waits is handed back, and no attempt is burned."""

from __future__ import annotations

import asyncio
import signal

from safelight.domain.lifecycle import JobStatus
from safelight.engine.submit import submit
from tests.crash.conftest import Fleet
from tests.orders import attempts_of, ended, images_of, order, until, vendor_image


async def test_calls_that_were_sent_are_finished_and_the_rest_waits_for_the_next_worker(fleet: Fleet) -> None:
    worker = await fleet.start()
    vendor = fleet.sandbox.vendor
    vendor.hold()
    images = [vendor_image(f"img-{n}", timeout_seconds=30) for n in range(7)]
    accepted = await submit(fleet.pool, order(*images), run_limit_seconds=3600)
    await fleet.in_flight(4)
    worker.send_signal(signal.SIGTERM)
    await until(fleet.pool, "SELECT draining FROM workers WHERE pid = $1", worker.pid)
    vendor.release()
    async with asyncio.timeout(20):
        assert await worker.wait() == 0
    statuses = sorted(row["status"] for row in await images_of(fleet.pool, accepted.job_id))
    assert statuses == ["completed"] * 4 + ["queued"] * 3
    assert len(vendor.calls) == 4

    await fleet.start()
    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    assert [a["status"] for a in await attempts_of(fleet.pool, accepted.job_id)] == ["settled"] * 7
    assert vendor.bill.charged_calls == 7


async def test_a_second_signal_leaves_at_once_and_the_open_call_is_resolved_like_a_crash(fleet: Fleet) -> None:
    worker = await fleet.start()
    vendor = fleet.sandbox.vendor
    vendor.hold()
    accepted = await submit(fleet.pool, order(vendor_image("img", timeout_seconds=3)), run_limit_seconds=3600)
    await fleet.in_flight(1)
    worker.send_signal(signal.SIGTERM)
    await until(fleet.pool, "SELECT draining FROM workers WHERE pid = $1", worker.pid)
    worker.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await worker.wait() == 1
    vendor.release()
    await fleet.start()
    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    assert [a["status"] for a in await attempts_of(fleet.pool, accepted.job_id)] == ["unknown", "settled"]
