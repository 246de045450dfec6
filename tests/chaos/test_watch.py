"""When a dead worker's images are taken up again, and whose fault it is that it took so long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from safelight.chaos.monkey import Monkey
from safelight.chaos.plan import Plan
from safelight.chaos.watch import Watch
from safelight.storage.local_staging import LocalStaging
from tests.engine.test_claim import admitted, register, take

DEAD_PID, SECOND, THIRD = 77, uuid4(), uuid4()


class Looking(Watch):
    """Says when it has looked at the dead one's images."""

    looked: asyncio.Event

    async def ask(self, statement: str, *values: Any) -> list[asyncpg.Record] | None:
        rows = await super().ask(statement, *values)
        if rows and "brought_to" in rows[0]:
            self.looked.set()
        return rows


@pytest.fixture
async def watch(pool: asyncpg.Pool, queue: asyncpg.Pool, database: str, tmp_path: Path) -> AsyncIterator[Looking]:
    """Over one image, that a process owns which has died."""
    worker = await register(pool)
    await pool.execute("UPDATE workers SET pid = $1", DEAD_PID)
    _, [hint] = await admitted(pool, queue)
    await take(pool, hint, worker)
    watch = Looking(dsn=database, staging=LocalStaging(tmp_path))
    watch.looked = asyncio.Event()
    yield watch
    await watch.close()


async def test_images_that_the_next_worker_takes_up_are_counted_as_taken_up_again(
    pool: asyncpg.Pool, watch: Looking
) -> None:
    await followed(pool, watch)

    assert counted(watch) == {"reclaim": 1, "struck twice": 0, "delayed": 0}


@pytest.mark.parametrize(("then", "struck"), [(THIRD, 1), (SECOND, 0)], ids=["was dead too", "was only slow"])
async def test_images_that_were_brought_to_one_who_did_not_claim_them_are_counted_apart_if_that_one(
    pool: asyncpg.Pool, watch: Looking, then: UUID, struck: int
) -> None:
    await bring(pool, to=SECOND)

    await followed(pool, watch, then=then)

    assert counted(watch) == {"reclaim": 1 - struck, "struck twice": struck, "delayed": 0}


async def test_a_kill_while_postgresql_is_away_is_counted_as_delayed(pool: asyncpg.Pool, watch: Looking) -> None:
    is_away, comes_back = asyncio.Event(), asyncio.Event()

    async def restart_database() -> float:
        is_away.set()
        await comes_back.wait()
        return 0.1

    installation: Any = SimpleNamespace(restart_database=restart_database)
    restarting = asyncio.create_task(Monkey(plan=Plan(), installation=installation, watch=watch)._restart(0, 0))
    await is_away.wait()
    following = asyncio.create_task(watch.follow_dead(DEAD_PID, killed_at=time.monotonic()))
    await asyncio.wait_for(watch.looked.wait(), 20)
    comes_back.set()
    await restarting
    await claim(pool, by=SECOND)
    await following

    assert counted(watch) == {"reclaim": 0, "struck twice": 0, "delayed": 1}


async def followed(pool: asyncpg.Pool, watch: Looking, *, then: UUID = SECOND) -> None:
    """Once it was looked at, `then` has the image."""
    following = asyncio.create_task(watch.follow_dead(DEAD_PID, killed_at=time.monotonic()))
    await asyncio.wait_for(watch.looked.wait(), 20)
    await claim(pool, by=then)
    assert len(await following) == 1


async def bring(pool: asyncpg.Pool, *, to: UUID) -> None:
    """A while after the image was claimed, and a while ago."""
    await pool.execute("UPDATE images SET changed_at = changed_at - interval '1 minute'")
    await pool.execute(
        "UPDATE pgqueuer SET status = 'picked', queue_manager_id = $1, updated = now() - interval '5 seconds'", to
    )


async def claim(pool: asyncpg.Pool, *, by: UUID) -> None:
    await pool.execute("UPDATE pgqueuer SET status = 'picked', queue_manager_id = $1, updated = now()", by)
    await pool.execute("UPDATE images SET claim_token = gen_random_uuid(), changed_at = safelight.now()")


def counted(watch: Watch) -> dict[str, int]:
    return {
        "reclaim": len(watch.reclaim_seconds),
        "struck twice": len(watch.struck_twice_seconds),
        "delayed": len(watch.delayed_seconds),
    }
