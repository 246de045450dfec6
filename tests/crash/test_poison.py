"""An image that kills every worker that takes it: it ends as CRASHED, in a process of its own, and the others go on."""

from __future__ import annotations

import signal

from safelight.domain.lifecycle import JobStatus
from safelight.engine.failpoints import Failpoint
from safelight.engine.orders.submit import submit
from tests.crash.conftest import Fleet
from tests.orders import ended, images_of, order, vendor_image


async def test_an_image_that_kills_its_workers_ends_after_three_and_its_neighbours_complete(fleet: Fleet) -> None:
    """Every process that reaches `claimed` dies: two workers, and the one that is started for the last try."""
    accepted = await submit(fleet.pool, order(vendor_image("poison")), run_limit_seconds=3600)
    for _ in range(2):
        doomed = await fleet.start(f"{Failpoint.CLAIMED}:kill@1")
        await fleet.killed(doomed)
    survivor = await fleet.start(f"{Failpoint.CLAIMED}:kill@1")
    assert await ended(fleet.pool, accepted.job_id) is JobStatus.FAILED
    [row] = await images_of(fleet.pool, accepted.job_id)
    assert row["error"]["kind"] == "CRASHED"
    assert survivor.returncode is None, "the last try took nobody along"

    survivor.send_signal(signal.SIGTERM)
    await survivor.wait()
    await fleet.start()
    neighbour = await submit(fleet.pool, order(vendor_image("neighbour")), run_limit_seconds=3600)
    assert await ended(fleet.pool, neighbour.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(neighbour.job_id)
