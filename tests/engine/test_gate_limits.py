"""Rate limits and quotas of a day: calls wait for as long as the vendor says."""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg
import pytest

from safelight.domain.errors import Scope
from safelight.engine.gates import notices
from tests.engine.by_hand import pass_time
from tests.engine.gate_stage import (
    LOS_ANGELES,
    admitted,
    answer,
    day_is_used_up,
    fail,
    is_shut,
    limit,
    limited,
    paused,
    probe_pause,
    put_back,
    set_clock,
    state,
    told,
    waiting,
)
from tests.engine.test_claim import register

__all__ = ["paused"]  # the fixture: a gate that is shut, and a worker that has room


async def test_a_rate_limit_keeps_calls_back_for_as_long_as_the_vendor_says_and_is_told_to_nobody(
    pool: asyncpg.Pool,
) -> None:
    await fail(pool, limited(30))
    assert await is_shut(pool)
    assert not await is_shut(pool, model="another")
    await fail(pool, limited(5))
    assert 29 < await limit(pool) <= 30, "an earlier moment shortens nothing"
    written = await pool.fetchval("SELECT xmin FROM gates")
    await answer(pool)
    assert await is_shut(pool), "a call that was on its way proves nothing about the next one"
    assert await pool.fetchval("SELECT xmin FROM gates") == written, "and there is nothing to write"
    await pass_time(pool, 31)
    assert not await is_shut(pool)
    await answer(pool)
    assert await pool.fetchval("SELECT count(*) FROM gates") == 0
    assert await told(pool) == []


async def test_a_rate_limit_of_the_account_is_for_all_of_its_models(pool: asyncpg.Pool) -> None:
    await fail(pool, limited(30, scope=Scope.ACCOUNT), model="one")
    assert await is_shut(pool, model="another")


async def test_a_rate_limit_without_a_time_doubles_and_calls_that_were_under_way_together_count_once(
    pool: asyncpg.Pool,
) -> None:
    pauses: list[float] = []
    for _ in range(8):
        await fail(pool, limited(), times=3)
        pauses.append(await limit(pool))
        await pass_time(pool, pauses[-1] + 0.1)
    assert [round(each) for each in pauses] == [1, 2, 4, 8, 16, 32, 60, 60]
    await answer(pool)
    await fail(pool, limited())
    assert round(await limit(pool)) == 1, "an answer begins the count anew"


@pytest.mark.usefixtures("paused")
async def test_a_probe_that_meets_a_rate_limit_has_learned_nothing(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    [probe] = await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, limited(2), row_id=probe)
    found = await state(pool)
    assert (found.is_shut, found.is_probing, found.failed_probes, found.code) == (True, False, 0, "HTTP_503")
    assert 9 < await probe_pause(pool) <= 10


DAYS = [
    (datetime(2027, 6, 1, 15, 30, tzinfo=LOS_ANGELES), timedelta(hours=8.5)),
    (datetime(2027, 3, 14, 0, 30, tzinfo=LOS_ANGELES), timedelta(hours=22.5)),
    (datetime(2027, 11, 7, 0, 30, tzinfo=LOS_ANGELES), timedelta(hours=24.5)),
    (datetime(2027, 12, 31, 23, 59, tzinfo=LOS_ANGELES), timedelta(minutes=1)),
]

"""A moment in Los Angeles, and how far the next midnight is: also on the days when its clocks are changed."""


@pytest.mark.parametrize(("now", "wait"), DAYS, ids=lambda each: str(each))
async def test_a_quota_that_is_used_up_parks_the_provider_until_midnight_where_the_vendor_is(
    now: datetime, wait: timedelta, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await set_clock(pool, now)
    await register(pool)
    [probe, _] = await waiting(pool, "one", "another")
    await fail(pool, day_is_used_up(), model="one", times=3)
    assert abs(await probe_pause(pool) - wait.total_seconds()) < 30
    assert await is_shut(pool, model="another")
    assert await told(pool) == [("provider.paused", None, "DAILY_QUOTA")]
    [paused] = await notices(pool, 0)
    assert datetime.fromisoformat(paused.data["probe_at"]).astimezone(LOS_ANGELES).hour == 0
    await pass_time(pool, wait.total_seconds() - 40)
    assert await admitted(pool, queue) == []
    await pass_time(pool, 41)
    assert await admitted(pool, queue) == [probe]
    await answer(pool, model="one", row_id=probe)
    assert [kind for kind, _, _ in await told(pool)] == ["provider.paused", "provider.resumed"]


async def test_a_quota_that_is_renewed_a_little_late_does_not_cost_another_day(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await set_clock(pool, datetime(2027, 6, 1, 23, 59, tzinfo=LOS_ANGELES))
    await register(pool)
    [probe] = await waiting(pool, "placeholder-1")
    await fail(pool, day_is_used_up())
    await pass_time(pool, 61)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, day_is_used_up(), row_id=probe)
    assert 19 < await probe_pause(pool) <= 20
    await put_back(pool, probe)
    await pass_time(pool, 3600)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, day_is_used_up(), row_id=probe)
    assert 22.9 * 3600 < await probe_pause(pool) < 23 * 3600, "used up once more"
    assert len(await told(pool)) == 1
