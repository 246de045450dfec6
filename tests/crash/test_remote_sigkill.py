"""A worker is killed while a vendor works on a job for it: only a job whose handle was lost is ever bought again."""

from __future__ import annotations

import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.domain.order import ImageOrder
from safelight.engine.failpoints import Failpoint
from safelight.engine.orders.submit import submit
from tests.crash.conftest import TIMEOUT_SECONDS, Fleet
from tests.orders import attempts_of, ended, image, images_of, order, until

MODELS = {"replicate": "black-forest-labs/flux-schnell", "fal": "fal-ai/flux/dev"}
VENDORS = ["fal", pytest.param("replicate", marks=pytest.mark.slow)]


def three_images(vendor: str) -> tuple[ImageOrder, ...]:
    return tuple(
        image(f"img-{n}", provider=vendor, model=MODELS[vendor], options={}, timeout_seconds=TIMEOUT_SECONDS)
        for n in range(3)
    )


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_kill_before_the_handle_is_committed_buys_one_picture_again_and_books_the_first_as_unknown(
    vendor: str, fleet: Fleet
):
    doomed = await fleet.start(f"{Failpoint.HANDLE_RECEIVED}:kill@2")
    fleet.sandbox.vendor.hold()
    accepted = await submit(fleet.pool, order(*three_images(vendor)), run_limit_seconds=3600)
    await fleet.killed(doomed)
    submitted = await fleet.pool.fetchval("SELECT count(*) FROM attempts WHERE status = 'submitted'")
    lost = await fleet.pool.fetchval("SELECT count(*) FROM attempts WHERE status = 'sent'")
    assert submitted + lost <= 3
    assert lost >= 1
    fleet.sandbox.vendor.release()
    await fleet.start()

    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    attempts = await attempts_of(fleet.pool, accepted.job_id)
    unknown = [a for a in attempts if a["status"] == "unknown"]
    assert 1 <= len(unknown) <= lost
    assert all(a["estimate_microusd"] for a in unknown), "each is booked with what it may have cost"
    assert len(attempts) == 3 + len(unknown)
    assert max(row["attempt_count"] for row in await images_of(fleet.pool, accepted.job_id)) <= 2


@pytest.mark.parametrize(
    ("vendor", "failpoint"),
    [
        ("fal", Failpoint.HANDLE_COMMITTED),
        ("fal", Failpoint.POLLING),
        ("replicate", Failpoint.POLLING),
        pytest.param("replicate", Failpoint.HANDLE_COMMITTED, marks=pytest.mark.slow),
    ],
)
async def test_a_kill_once_the_handle_is_committed_buys_nothing_again(vendor: str, failpoint: Failpoint, fleet: Fleet):
    fleet.sandbox.vendor.hold()
    doomed = await fleet.start(f"{failpoint}:kill@3")
    accepted = await submit(fleet.pool, order(*three_images(vendor)), run_limit_seconds=3600)
    await fleet.killed(doomed)
    sent = await fleet.pool.fetchval("SELECT count(*) FROM attempts WHERE status = 'sent'")
    fleet.sandbox.vendor.release()
    await fleet.start()

    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    attempts = await attempts_of(fleet.pool, accepted.job_id)
    assert sent == 0, "all three handles were committed when the worker died"
    assert [a["status"] for a in attempts] == ["settled"] * 3
    assert (len(fleet.sandbox.vendor.calls), fleet.sandbox.vendor.bill.charged_calls) == (3, 3)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_kill_before_the_vendor_was_heard_to_have_finished_buys_nothing_again(vendor: str, fleet: Fleet):
    fleet.sandbox.vendor.hold()
    doomed = await fleet.start()
    accepted = await submit(fleet.pool, order(*three_images(vendor)), run_limit_seconds=3600)
    await until(fleet.pool, "SELECT count(*) = 3 FROM attempts WHERE status = 'submitted'")
    doomed.kill()
    await doomed.wait()
    fleet.sandbox.vendor.release()
    vendors_side = fleet.sandbox.vendor
    assert await vendors_side.wait_until(lambda: vendors_side.in_flight == 0, timeout_seconds=20)
    assert vendors_side.bill.charged_calls == 3, "everything is made and paid for, and nobody has asked"
    await fleet.start()

    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    assert [a["status"] for a in await attempts_of(fleet.pool, accepted.job_id)] == ["settled"] * 3
    assert (len(vendors_side.calls), vendors_side.bill.charged_calls) == (3, 3)
