"""A worker that is stopped past its lease and thawed again: a zombie that must neither settle nor pay."""

from __future__ import annotations

import asyncio
import signal

import psutil
import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.domain.order import JobOrder
from safelight.engine.failpoints import Failpoint
from safelight.engine.orders.submit import submit
from tests.crash.conftest import LEASE_SECONDS, MODEL, Fleet
from tests.fork_server import Process
from tests.orders import attempts_of, ended, event_types, image, images_of, order, until

STALE = "SELECT heartbeat_at < safelight.now() - make_interval(secs => $2) FROM workers WHERE pid = $1"


def one_image(*, timeout_seconds: float) -> JobOrder:
    return order(image("img-0", provider="gemini", model=MODEL, timeout_seconds=timeout_seconds))


async def is_stopped(process: Process) -> None:
    """Returns once the kernel says that the process is stopped."""
    async with asyncio.timeout(20):
        while True:
            if psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
                return
            await asyncio.sleep(0.01)


async def test_a_worker_stalled_in_mid_call_cannot_settle_and_what_it_received_is_adopted(fleet: Fleet) -> None:
    zombie = await fleet.start()
    fleet.sandbox.vendor.hold()
    accepted = await submit(fleet.pool, one_image(timeout_seconds=30), run_limit_seconds=3600)
    await fleet.in_flight(1)
    zombie.send_signal(signal.SIGSTOP)
    await until(fleet.pool, STALE, zombie.pid, LEASE_SECONDS)
    await fleet.start()
    # The new owner finds a call that may still answer, and waits for it.
    await until(fleet.pool, "SELECT status = 'queued' FROM images WHERE job_id = $1", accepted.job_id)
    fleet.sandbox.vendor.release()
    zombie.send_signal(signal.SIGCONT)

    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    assert fleet.sandbox.vendor.bill.charged_calls == 1
    assert [a["status"] for a in await attempts_of(fleet.pool, accepted.job_id)] == ["settled"]
    types = await event_types(fleet.pool, accepted.job_id)
    assert types.count("image.completed") == types.count("job.completed") == 1
    [row] = await images_of(fleet.pool, accepted.job_id)
    assert row["crash_count"] == 0, "the worker lived: its lease was lost, it did not crash"


@pytest.mark.slow
async def test_thawed_before_its_deadline_a_worker_stopped_before_the_first_byte_makes_the_one_call(
    fleet: Fleet,
) -> None:
    zombie = await fleet.start(f"{Failpoint.ATTEMPT_COMMITTED}:stop@1")
    accepted = await submit(fleet.pool, one_image(timeout_seconds=30), run_limit_seconds=3600)
    await is_stopped(zombie)
    await until(fleet.pool, STALE, zombie.pid, LEASE_SECONDS)
    await fleet.start()
    await until(fleet.pool, "SELECT status = 'queued' FROM images WHERE job_id = $1", accepted.job_id)
    assert fleet.sandbox.vendor.calls == []
    zombie.send_signal(signal.SIGCONT)

    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    assert len(fleet.sandbox.vendor.calls) == 1
    assert fleet.sandbox.vendor.bill.charged_calls == 1


async def test_thawed_after_its_deadline_a_worker_stopped_before_the_first_byte_sends_nothing(fleet: Fleet) -> None:
    zombie = await fleet.start(f"{Failpoint.ATTEMPT_COMMITTED}:stop@1")
    accepted = await submit(fleet.pool, one_image(timeout_seconds=2), run_limit_seconds=3600)
    await is_stopped(zombie)
    await fleet.start()
    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED, "bought again, once, by the other worker"
    assert len(fleet.sandbox.vendor.calls) == 1
    zombie.send_signal(signal.SIGCONT)

    # The zombie proves, late, that its own attempt cost nothing.
    await until(fleet.pool, "SELECT status = 'unbilled' FROM attempts WHERE number = 1")
    await fleet.at_rest(accepted.job_id)
    assert len(fleet.sandbox.vendor.calls) == 1
    assert [a["status"] for a in await attempts_of(fleet.pool, accepted.job_id)] == ["unbilled", "settled"]


@pytest.mark.slow
async def test_a_worker_thawed_after_another_one_completed_its_image_writes_nothing(fleet: Fleet) -> None:
    zombie = await fleet.start(f"{Failpoint.UPLOADED}:stop@1")
    accepted = await submit(fleet.pool, one_image(timeout_seconds=30), run_limit_seconds=3600)
    await is_stopped(zombie)
    await fleet.start()
    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    whole = [await images_of(fleet.pool, accepted.job_id), await event_types(fleet.pool, accepted.job_id)]
    zombie.send_signal(signal.SIGCONT)
    await fleet.at_rest(accepted.job_id)
    assert [await images_of(fleet.pool, accepted.job_id), await event_types(fleet.pool, accepted.job_id)] == whole
    assert await fleet.pool.fetchval("SELECT count(*) FROM renditions") == 1
    assert fleet.sandbox.vendor.bill.charged_calls == 1
