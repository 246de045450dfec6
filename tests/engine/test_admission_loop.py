"""The loop that admits images ends when it is told to, whatever happens at that moment."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import pytest

from safelight.engine.admission import Admission
from safelight.engine.timing import Timing


@pytest.mark.parametrize("turns", range(4))
async def test_a_nudge_at_the_moment_of_its_end_does_not_keep_it_alive(queue: asyncpg.Pool, turns: int) -> None:
    admission = Admission(queue, max_concurrency={}, timing=Timing(admission_seconds=60.0))
    loop = asyncio.create_task(admission.run())
    async with asyncio.timeout(20):
        while not admission._nudged._waiters:  # noqa: ASYNC110 - it waits for a nudge
            await asyncio.sleep(0.01)
    admission.nudge()
    for _ in range(turns):
        await asyncio.sleep(0)
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        async with asyncio.timeout(20):
            await loop
    assert loop.cancelled()
