"""A worker that stands still in the middle of a sweep does not keep the others from theirs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg

from safelight.engine.sweep import sweep
from safelight.engine.timing import Timing
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import Receipt


class _StandsStill(LocalStaging):
    """Whoever looks at what is staged stays there."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.is_reached = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def pending(self) -> list[Receipt]:
        self.is_reached.set()
        await self.goes_on.wait()
        return await super().pending()


async def test_a_sweep_that_stands_still_is_followed_by_another_and_ends_in_good_order(
    pool: asyncpg.Pool, queue: asyncpg.Pool, tmp_path: Path
) -> None:
    timing = Timing(lease_seconds=0.25)
    stopped = _StandsStill(tmp_path)
    first = asyncio.create_task(sweep(pool, queue, stopped, timing=timing))
    async with asyncio.timeout(20):
        await stopped.is_reached.wait()
        assert await sweep(pool, queue, LocalStaging(tmp_path), timing=timing) is None, "one at a time"
        while await sweep(pool, queue, LocalStaging(tmp_path), timing=timing) is None:  # noqa: ASYNC110 - the server's clock
            await asyncio.sleep(0.1)
        stopped.goes_on.set()
        assert await first is not None
    assert await sweep(pool, queue, LocalStaging(tmp_path), timing=timing) is not None
