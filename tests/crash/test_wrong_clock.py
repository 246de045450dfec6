"""A worker whose clock on the wall is wrong: moments are the database's, spans are counted by what only goes on."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import cast

import pytest

from safelight.domain.lifecycle import JobStatus
from safelight.engine.orders.submit import submit
from tests.crash.conftest import Fleet
from tests.fork_server import DEVNULL, Process
from tests.orders import attempts_of, ended, images_of, order, until, vendor_image

SOURCE = Path(__file__).with_name("wrong_clock.c")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="a library is loaded before the C library as Linux does it"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc) to make a wrong clock with"),
]


@pytest.fixture
async def wrong_clock(tmp_path: Path) -> Path:
    library = tmp_path / "wrong_clock.so"
    command = ["cc", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    compiler = await asyncio.create_subprocess_exec(*command)
    assert await compiler.wait() == 0
    return library


async def start_wrong(fleet: Fleet, library: Path, *, by_seconds: int) -> Process:
    wrong = {"LD_PRELOAD": str(library), "WRONG_CLOCK_SECONDS": str(by_seconds)}
    with fleet.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "safelight", "worker"),
            env=fleet.environment() | wrong,
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
        )
    process = cast(Process, process)  # of the two's common part
    await fleet.has_started(process)
    return process


@pytest.mark.parametrize("by_seconds", [-3600, 300])
async def test_a_worker_whose_clock_is_wrong_buys_nothing_twice(
    by_seconds: int, fleet: Fleet, wrong_clock: Path
) -> None:
    """It works beside one whose clock is right, and dies with calls open, which that one then has to judge."""
    fleet.lease_seconds = 6.0  # not lost by a worker that only waits for a processor
    wrong = await start_wrong(fleet, wrong_clock, by_seconds=by_seconds)
    vendor = fleet.sandbox.vendor
    first = await submit(fleet.pool, order(vendor_image("a"), vendor_image("b")), run_limit_seconds=3600)
    assert await ended(fleet.pool, first.job_id) is JobStatus.COMPLETED
    off = "SELECT max(abs(extract(epoch FROM safelight.now() - sent_at))) < 60 FROM attempts"
    assert await fleet.pool.fetchval(off), "an attempt was sent when the database says"
    assert len(vendor.calls) == 2

    vendor.hold()
    images = [vendor_image(f"img-{n}", timeout_seconds=8) for n in range(3)]
    second = await submit(fleet.pool, order(*images), run_limit_seconds=3600)
    await fleet.in_flight(3)
    await fleet.start()
    assert await until(fleet.pool, "SELECT count(*) = 2 FROM workers"), "both live, as far as the database can tell"
    wrong.kill()
    await wrong.wait()
    vendor.release()
    status = await ended(fleet.pool, second.job_id, seconds=60)
    assert status is JobStatus.COMPLETED, [row["error"] for row in await images_of(fleet.pool, second.job_id)]
    attempts = await attempts_of(fleet.pool, second.job_id)
    assert [a["status"] for a in attempts] == ["unknown", "settled"] * 3
    for before, after in zip(attempts[::2], attempts[1::2], strict=True):
        assert after["sent_at"] >= before["resolve_at"], "never while the first call may still answer"
