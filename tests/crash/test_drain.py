"""SIGTERM is not a crash: what was sent runs to its end, what waits is handed back, and no attempt is burned."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter

import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.submit import submit
from tests.crash.conftest import Fleet, defaults
from tests.orders import attempts_of, ended, image, images_of, order, until, vendor_image


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


@pytest.mark.slow
async def test_of_twenty_in_flight_none_is_cut_and_what_a_vendor_works_on_alone_is_handed_on(fleet: Fleet) -> None:
    """Fourteen calls are open, six jobs run at a vendor, five images wait."""
    fleet.slots, fleet.more = 20, {"SAFELIGHT_PROVIDERS__GEMINI__MAX_CONCURRENCY": "20"}
    worker = await fleet.start()
    vendor = fleet.sandbox.vendor
    vendor.hold()
    jobs = [
        image(f"job-{n}", provider="fal", model="fal-ai/flux/dev", options={}, timeout_seconds=30) for n in range(6)
    ]
    calls = [vendor_image(f"img-{n}", timeout_seconds=30) for n in range(19)]
    accepted = await submit(fleet.pool, order(*jobs, *calls), run_limit_seconds=3600)
    await fleet.in_flight(20)
    await until(fleet.pool, "SELECT count(*) = 6 FROM attempts WHERE status = 'submitted'")
    worker.send_signal(signal.SIGTERM)
    await until(fleet.pool, "SELECT draining FROM workers WHERE pid = $1", worker.pid)
    await until(fleet.pool, "SELECT count(*) = 6 FROM images WHERE provider = 'fal' AND status = 'queued'")
    vendor.release()
    async with asyncio.timeout(20):
        assert await worker.wait() == 0
    statuses = Counter((row["provider"], row["status"]) for row in await images_of(fleet.pool, accepted.job_id))
    assert statuses == {("gemini", "completed"): 14, ("gemini", "queued"): 5, ("fal", "queued"): 6}
    assert len(vendor.calls) == 20, "nothing was begun after the signal"

    await fleet.start()
    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    assert [a["status"] for a in await attempts_of(fleet.pool, accepted.job_id)] == ["settled"] * 25
    assert [row["crash_count"] for row in await images_of(fleet.pool, accepted.job_id)] == [0] * 25
    assert vendor.bill.charged_calls == 25


@pytest.mark.slow
async def test_a_worker_with_nothing_in_flight_is_gone_within_a_second(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the settings of an operator who has set nothing."""
    fleet.more = defaults()
    took_seconds = []
    for _ in range(3):
        worker = await fleet.start()
        accepted = await submit(fleet.pool, order(vendor_image("img")), run_limit_seconds=3600)
        assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
        await until(fleet.pool, "SELECT count(*) = 0 FROM pgqueuer")
        told_at = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await worker.wait() == 0
        took_seconds.append(time.monotonic() - told_at)
    with capsys.disabled():
        print(f"\nwith nothing in flight a worker was gone after {', '.join(f'{s:.2f}' for s in took_seconds)} s")
    assert max(took_seconds) <= 1.0
