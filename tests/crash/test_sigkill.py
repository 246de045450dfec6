"""A worker is killed at each step of the way of one image; the job completes, and nothing is paid twice."""

from __future__ import annotations

import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.domain.order import ImageOrder
from safelight.engine.failpoints import Failpoint
from safelight.engine.orders.submit import submit
from tests.crash.conftest import MODEL, TIMEOUT_SECONDS, Fleet
from tests.engine.books import assert_books_balance, balance, billed_order, open_account
from tests.orders import attempts_of, ended, image, images_of, order

LOST = {Failpoint.ATTEMPT_COMMITTED, Failpoint.RECEIVED_UNSTAGED}
"""Where the outcome of a call is lost with the worker: the only places after which a picture may be bought again."""

OF_JOBS = {Failpoint.HANDLE_RECEIVED, Failpoint.HANDLE_COMMITTED, Failpoint.POLLING}
"""On the way of a vendor's job alone; `test_remote_sigkill` kills there."""

SAFE = {Failpoint.STAGED, Failpoint.RECEIVED, Failpoint.UPLOADED, Failpoint.SETTLED}
"""Where the picture lies staged: it must become the image's."""


def three_images() -> tuple[ImageOrder, ...]:
    return tuple(image(f"img-{n}", provider="gemini", model=MODEL, timeout_seconds=TIMEOUT_SECONDS) for n in range(3))


@pytest.mark.parametrize("failpoint", [each for each in Failpoint if each not in OF_JOBS])
async def test_the_job_survives_a_kill_at(failpoint: Failpoint, fleet: Fleet) -> None:
    await open_account(fleet.pool, paid_in=3, daily_budget_microusd=1_000_000)
    doomed = await fleet.start(f"{failpoint}:kill@2")
    accepted = await submit(fleet.pool, billed_order(*three_images()), run_limit_seconds=3600)
    await fleet.killed(doomed)
    staged = {receipt.attempt_id for receipt in await fleet.staging.pending()}
    assert staged or failpoint not in SAFE
    await fleet.start()

    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    attempts = await attempts_of(fleet.pool, accepted.job_id)
    unknown = [a for a in attempts if a["status"] == "unknown"]
    settled = [a for a in attempts if a["status"] == "settled"]
    assert len(settled) == 3
    assert staged <= {a["id"] for a in settled}, "nothing is bought again after its bytes were staged"
    assert len(attempts) == 3 + len(unknown)
    per_image = {row["row_id"]: row["attempt_count"] for row in await images_of(fleet.pool, accepted.job_id)}
    assert max(per_image.values()) <= 2, "at most one re-buy for an unknown outcome"
    if failpoint in LOST:
        assert unknown
    calls = fleet.sandbox.vendor.bill.charged_calls
    assert 3 <= calls <= len(attempts)
    assert await balance(fleet.pool) == (0, 0, 3), "each picture is paid for once, whatever it cost us"
    await assert_books_balance(fleet.pool)


async def test_the_job_survives_a_kill_while_the_vendor_is_generating(fleet: Fleet) -> None:
    doomed = await fleet.start()
    fleet.sandbox.vendor.hold()
    accepted = await submit(fleet.pool, order(*three_images()), run_limit_seconds=3600)
    await fleet.in_flight(3)
    doomed.kill()
    await doomed.wait()
    fleet.sandbox.vendor.release()
    await fleet.start()

    assert await ended(fleet.pool, accepted.job_id) is JobStatus.COMPLETED
    await fleet.at_rest(accepted.job_id)
    attempts = await attempts_of(fleet.pool, accepted.job_id)
    assert [a["status"] for a in attempts] == ["unknown", "settled"] * 3
    assert fleet.sandbox.vendor.bill.charged_calls == 6, "three pictures were lost with the worker and bought again"
    for first, second in zip(attempts[::2], attempts[1::2], strict=True):
        assert second["sent_at"] >= first["resolve_at"], "never while the first call may still answer"
