"""How long an image stands still whose worker was killed, at the settings of an operator who has set nothing."""

from __future__ import annotations

import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.engine.failpoints import Failpoint
from safelight.engine.orders.submit import submit
from tests.crash.claims import list_claims
from tests.crash.conftest import Fleet, defaults
from tests.orders import attempts_of, ended, order, vendor_image

RECLAIM_SECONDS = 20.0
"""Promised."""

SECOND_CLAIM = """
    SELECT max(extract(epoch FROM later.at - lost.at))::float8
    FROM claims AS lost, LATERAL (SELECT min(c.at) AS at FROM claims AS c
                                  WHERE c.row_id = lost.row_id AND c.worker_id <> lost.worker_id) AS later
    WHERE lost.worker_id = $1
"""
"""At most, from the claim of a worker that died of it to that of one that lives."""


@pytest.mark.slow
async def test_what_a_killed_worker_had_claimed_is_claimed_again_within_twenty_seconds(
    fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    """It dies with its first claim, while another worker lives, and nothing was bought."""
    fleet.more = defaults()
    await list_claims(fleet.pool)
    doomed = await fleet.start(f"{Failpoint.CLAIMED}:kill@1")
    dead_id = await fleet.pool.fetchval("SELECT id FROM workers WHERE pid = $1", doomed.pid)
    fleet.sandbox.vendor.hold()  # one after the other, so that each of both has its share
    await fleet.start()
    images = [vendor_image(f"img-{n}", timeout_seconds=60) for n in range(8)]
    accepted = await submit(fleet.pool, order(*images), run_limit_seconds=3600)
    await fleet.killed(doomed)
    fleet.sandbox.vendor.release()

    assert await ended(fleet.pool, accepted.job_id, seconds=90) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    stood_still_seconds = await fleet.pool.fetchval(SECOND_CLAIM, dead_id)
    with capsys.disabled():
        print(f"\nclaimed again {stood_still_seconds:.1f} s after the claim of the worker that was killed")
    assert stood_still_seconds <= RECLAIM_SECONDS
    assert [a["status"] for a in await attempts_of(fleet.pool, accepted.job_id)] == ["settled"] * 8
    assert len(fleet.sandbox.vendor.calls) == 8, "one call for each picture"
