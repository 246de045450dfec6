"""What is told of a gate: once when it shuts, once when it opens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg

from safelight.db.statements import load
from safelight.domain.gates import BURST
from safelight.engine.gates import Notice, forget_notices, notices
from tests.engine.by_hand import pass_time
from tests.engine.gate_stage import admitted, answer, fail, temporary, told, waiting
from tests.engine.test_claim import register
from tests.orders import until


async def test_fifty_failures_at_once_are_told_once_and_so_is_the_end_of_the_pause(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await asyncio.gather(*(fail(pool, temporary()) for _ in range(50)))
    assert await told(pool) == [("provider.paused", "placeholder-1", "HTTP_503")]
    await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    [probe] = await admitted(pool, queue)
    await asyncio.gather(*(answer(pool, row_id=probe) for _ in range(50)))
    assert [kind for kind, _, _ in await told(pool)] == ["provider.paused", "provider.resumed"]


async def test_notices_are_read_in_order_from_where_a_reader_stopped_and_forgotten_after_a_month(
    pool: asyncpg.Pool,
) -> None:
    for model in ("one", "two", "three"):
        await fail(pool, temporary(), model=model, times=BURST)
    seen = await notices(pool, 0, limit=2)
    assert [each.model for each in seen] == ["one", "two"]
    rest = await notices(pool, seen[-1].id)
    assert [each.model for each in rest] == ["three"]
    assert isinstance(rest[0], Notice)
    assert rest[0].message == "the vendor stumbled"
    await pass_time(pool, 31 * 86_400)
    await fail(pool, temporary(), model="four", times=BURST)
    await forget_notices(pool)
    assert [each.model for each in await notices(pool, 0)] == ["four"]


async def test_a_reader_that_has_seen_a_notice_has_missed_none_before_it(pool: asyncpg.Pool) -> None:
    """Two pauses at once: the second one waits for the first one's commit before it takes its number."""
    shut: Sequence[object] = ("CODE", "message", 1, None, 10.0)
    async with pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        await conn.execute(load("gates").count_against, "placeholder", "first", *shut)
        second = asyncio.create_task(pool.execute(load("gates").count_against, "placeholder", "second", *shut))
        waits = (
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE '%count_against%'"
        )
        await until(pool, f"{waits} AND datname = current_database()")
        assert await notices(pool, 0) == []
        await transaction.commit()
    await second
    assert [each.model for each in await notices(pool, 0)] == ["first", "second"]
