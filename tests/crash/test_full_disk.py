"""Too little room for what would come: nothing is bought until there is."""

from __future__ import annotations

import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.submit import submit
from tests.crash.conftest import Fleet
from tests.orders import SMALL, attempts_of, ended, order, until, vendor_image


@pytest.mark.slow
async def test_nothing_is_bought_while_there_is_no_room_to_stage_it(fleet: Fleet) -> None:
    crowded = await fleet.start(min_free_bytes=1 << 60)
    accepted = await submit(fleet.pool, order(vendor_image("a")), run_limit_seconds=3600)
    await until(fleet.pool, "SELECT generation >= 2 FROM images")
    assert await attempts_of(fleet.pool, accepted.job_id) == []
    assert fleet.sandbox.vendor.calls == []
    crowded.terminate()
    await crowded.wait()
    await fleet.start()
    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)


async def test_a_picture_that_cannot_be_staged_goes_straight_to_the_store(fleet: Fleet) -> None:
    """The worker may write no file larger than 100 kB: the vendor's picture is larger, its rendition is not."""
    await fleet.start(max_file_bytes=100_000)
    accepted = await submit(fleet.pool, order(vendor_image("a")), run_limit_seconds=3600)
    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    assert len(fleet.sandbox.vendor.calls) == 1


async def test_a_picture_that_no_disk_takes_is_booked_as_paid_and_not_bought_again(fleet: Fleet) -> None:
    """Neither the picture nor its rendition may be written."""
    await fleet.start(max_file_bytes=20_000)
    large = {**SMALL, "width_px": 1024, "height_px": 1024, "quality": 95}
    accepted = await submit(fleet.pool, order(vendor_image("a"), outputs=(large,)), run_limit_seconds=3600)
    assert await ended(fleet.pool, accepted.job_id) is JobStatus.FAILED
    await fleet.at_rest(accepted.job_id)
    [attempt] = await attempts_of(fleet.pool, accepted.job_id)
    assert (attempt["status"], attempt["error_kind"]) == ("no_image", "STORAGE")
    assert attempt["cost_microusd"] == fleet.sandbox.vendor.bill.total_microusd
    left = [path.name for path in (fleet.home / "staging").iterdir()]
    assert left == [".safelight-staging"], "no half-written file"
