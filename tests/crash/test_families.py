"""A worker is killed while it finishes a picture that others are made from: they begin all the same, and once."""

from __future__ import annotations

import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.engine.failpoints import Failpoint
from safelight.engine.orders.submit import submit
from tests.crash.conftest import MODEL, TIMEOUT_SECONDS, Fleet
from tests.engine.families import made_from
from tests.orders import attempts_of, ended, image, images_of, order


@pytest.mark.parametrize(
    "failpoint", [pytest.param(Failpoint.UPLOADED, marks=pytest.mark.slow), Failpoint.SETTLED], ids=str
)
async def test_images_made_from_one_whose_worker_was_killed_at(failpoint: Failpoint, fleet: Fleet) -> None:
    doomed = await fleet.start(f"{failpoint}:kill@1")
    one, *others = (
        image(name, provider="gemini", model=MODEL, timeout_seconds=TIMEOUT_SECONDS) for name in ("a", "b", "c")
    )
    family = order(one, *(made_from(each, "a") for each in others))
    job_id = (await submit(fleet.pool, family, run_limit_seconds=3600)).job_id
    await fleet.killed(doomed)
    is_settled = failpoint is Failpoint.SETTLED
    awaiting = [row["awaits_parents"] for row in await images_of(fleet.pool, job_id)]
    assert awaiting == [False, not is_settled, not is_settled], "what settles the picture lets them go, nothing else"
    await fleet.start()

    assert await ended(fleet.pool, job_id) is JobStatus.COMPLETED
    await fleet.at_rest(job_id)
    assert [a["status"] for a in await attempts_of(fleet.pool, job_id)] == ["settled"] * 3
    first, *rest = fleet.sandbox.vendor.calls
    assert (first.references_sha256, len(rest)) == ((), 2)
    [original] = await fleet.pool.fetch("SELECT sha256 FROM renditions WHERE is_internal")
    assert {call.references_sha256 for call in rest} == {(original["sha256"],)}
