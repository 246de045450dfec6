"""Answers made to fill a worker's memory: it stays as large as it was, and so does what it decodes with."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from safelight.engine.orders.submit import submit
from safelight.imaging.child import MAX_MEMORY_BYTES
from safelight.net.billable import MAX_ANSWER_BYTES
from tests.crash.conftest import Fleet
from tests.orders import attempts_of, ended, order, until, vendor_image

MEGABYTE = 1_000_000
MOST_GROWTH_BYTES = 100 * MEGABYTE
MOST_PEAK_BYTES = 4 * MAX_ANSWER_BYTES
"""Of one answer: as bytes, as text, as JSON, as a picture. Measured at 3.5 times the longest."""

BOMBS = {
    "gzip-bomb 1000": "unknown",
    "gzip-bomb 60": "settled",
    "text-bomb 400": "settled",
    "pixel-bomb": "no_image",
    "frames": "no_image",
    "padded 60": "settled",
    "padded 100": "unknown",
}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell another process's limits and peaks")
@pytest.mark.slow
async def test_bombs_leave_a_worker_as_large_as_it_was(fleet: Fleet) -> None:
    fleet.lease_seconds = 15.0  # as in production: 60 MB of JSON take a good part of a second to read
    worker = psutil.Process((await fleet.start()).pid)
    assert await _bought(fleet, "ok") == ["settled"], "everything is loaded now, the child included"
    before_bytes = worker.memory_info().rss
    for script, status in BOMBS.items():
        _forget_peak(worker.pid)
        assert await _bought(fleet, script) == [status]
        assert _peak_bytes(worker.pid) - before_bytes < MOST_PEAK_BYTES, script
        assert worker.memory_info().rss - before_bytes < MOST_GROWTH_BYTES, script

    assert await _bought(fleet, *BOMBS) == list(BOMBS.values()), "all at once"
    assert worker.memory_info().rss - before_bytes < MOST_GROWTH_BYTES

    [child] = worker.children()
    assert child.rlimit(psutil.RLIMIT_AS) == (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES)
    assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert _peak_bytes(child.pid) < MAX_MEMORY_BYTES / 4

    assert await _bought(fleet, "ok") == ["settled"]
    await fleet.stop()
    assert _files(fleet.home / "staging") == set(), "nothing is left of what ended, whole or half"
    keys = {row["key"] for row in await fleet.pool.fetch("SELECT key FROM renditions")}
    assert _files(fleet.home / "blobs") == keys
    log = fleet.log.read_text()
    assert "worker started" in log
    assert "Traceback" not in log


async def _bought(fleet: Fleet, *scripts: str) -> list[str]:
    """How the attempts of one job ended that has an image for each script, and no second try.

    Returns when the worker has let go of them: a queue row is removed after its handler has returned, which is a moment
    after the image ended.
    """
    images = [
        vendor_image(f"bomb-{number}", script, timeout_seconds=60, max_attempts=1, max_rebuys=0)
        for number, script in enumerate(scripts)
    ]
    accepted = await submit(fleet.pool, order(*images), run_limit_seconds=3600)
    await ended(fleet.pool, accepted.job_id, seconds=60)
    await until(fleet.pool, "SELECT count(*) = 0 FROM pgqueuer")
    return [attempt["status"] for attempt in await attempts_of(fleet.pool, accepted.job_id)]


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def _files(folder: Path) -> set[str]:
    """All but the folder's own mark."""
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".safelight-")
    }
