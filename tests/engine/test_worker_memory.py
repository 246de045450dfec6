"""A worker keeps nothing of an image that it has done."""

from __future__ import annotations

import gc
from pathlib import Path

import asyncpg

from safelight.domain.ids import ImageRowId
from safelight.engine.image.lease import Hint
from safelight.engine.queue.worker import Worker
from safelight.settings import Settings
from safelight.wiring.worker import worker_of


def remembered(worker: Worker, row_ids: set[int]) -> list[object]:
    """Containers below the worker that hold one of the numbers."""
    found: list[object] = []
    seen: set[int] = set()
    todo: list[object] = [worker]
    while todo:
        each = todo.pop()
        if id(each) in seen or not type(each).__module__.startswith(("safelight", "builtins", "collections")):
            continue
        seen.add(id(each))
        if isinstance(each, dict | set | list | tuple) and any(isinstance(one, int) and one in row_ids for one in each):
            found.append(each)
        todo += [one for one in gc.get_referents(each) if not isinstance(one, type) and hasattr(one, "__class__")]
    return found


async def test_hints_that_led_nowhere_are_forgotten(database: str, pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with worker_of(Settings(home=tmp_path), database) as worker:
        row_ids = range(7_000_001, 7_000_201)
        for row_id in row_ids:
            await worker._handle(Hint(queue_row_id=1, row_id=ImageRowId(row_id), generation=1))
        assert remembered(worker, set(row_ids)) == []
