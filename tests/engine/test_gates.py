"""What shuts a provider's gate, what opens it, and what is shown of it."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import pytest

from safelight.db.pool import close_pool, open_pool
from safelight.domain.errors import Billed, Scope
from safelight.domain.gates import BURST
from safelight.engine.gates import gate_states
from tests.engine.by_hand import pass_time
from tests.engine.gate_stage import (
    admitted,
    answer,
    bad_key,
    bad_request,
    fail,
    is_shut,
    limited,
    paused,
    probe_pause,
    state,
    temporary,
    timeout,
    told,
    waiting,
    worked,
)
from tests.engine.test_claim import register

__all__ = ["paused", "worked"]  # fixtures: a gate that is shut, and a provider that has delivered before


async def test_failures_in_a_row_shut_the_gate_of_their_model_and_no_other(pool: asyncpg.Pool) -> None:
    await fail(pool, temporary(), times=2)
    await fail(pool, timeout(), times=BURST - 3)
    assert not await is_shut(pool)
    assert (await state(pool)).failures == BURST - 1
    await fail(pool, temporary("CONNECT_FAILED"))
    assert await is_shut(pool)
    assert not await is_shut(pool, model="another")
    assert await told(pool) == [("provider.paused", "placeholder-1", "CONNECT_FAILED")]
    assert 9 < await probe_pause(pool) <= 10


async def test_an_answer_in_between_makes_them_none_in_a_row(pool: asyncpg.Pool) -> None:
    for error in (None, bad_request(), temporary(billed=Billed.YES)):
        await fail(pool, temporary(), times=BURST - 1)
        await (answer(pool) if error is None else fail(pool, error))
        assert await gate_states(pool) == []
    await fail(pool, temporary(), times=BURST - 1)
    assert not await is_shut(pool)
    assert await told(pool) == []


async def test_a_vendor_that_works_leaves_no_row_behind_and_is_not_written_to(pool: asyncpg.Pool) -> None:
    await answer(pool)
    await fail(pool, bad_request())
    assert await pool.fetchval("SELECT count(*) FROM gates") == 0
    await fail(pool, temporary())
    await answer(pool, model="another")
    assert await pool.fetchval("SELECT failures FROM gates") == 1


@pytest.mark.usefixtures("worked")
async def test_a_key_that_is_gone_shuts_the_whole_account_at_once(pool: asyncpg.Pool) -> None:
    await fail(pool, bad_key(), model="one")
    assert await is_shut(pool, model="one")
    assert await is_shut(pool, model="another")
    found = await state(pool)
    assert (found.model, found.code, found.is_shut) == (None, "API_KEY_INVALID", True)
    assert await told(pool) == [("provider.paused", None, "API_KEY_INVALID")]


async def test_a_key_that_was_never_good_shuts_nothing(pool: asyncpg.Pool) -> None:
    await fail(pool, bad_key(), times=BURST)
    assert await gate_states(pool) == []
    assert await told(pool) == []


@pytest.mark.usefixtures("worked")
async def test_trouble_of_the_account_is_counted_over_its_models(pool: asyncpg.Pool) -> None:
    for n in range(BURST):
        await fail(pool, temporary(scope=Scope.ACCOUNT), model=f"model-{n}")
    assert await is_shut(pool, model="model-9")


@pytest.mark.usefixtures("paused")
async def test_calls_under_way_change_nothing_at_a_shut_gate(pool: asyncpg.Pool) -> None:
    before = await pool.fetch("SELECT * FROM gates")
    await fail(pool, temporary("LATER"), times=BURST)
    await fail(pool, timeout())
    await answer(pool)
    assert await pool.fetch("SELECT * FROM gates") == before
    assert await is_shut(pool)
    assert len(await told(pool)) == 1


async def test_a_failure_and_a_rate_limit_do_not_hide_each_other(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool)
    await fail(pool, temporary(), times=BURST)
    [probe] = await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, limited(30))
    await answer(pool, row_id=probe)
    found = await state(pool)
    assert not found.is_shut
    assert found.limited_until is not None
    assert await is_shut(pool)


@pytest.mark.usefixtures("paused")
async def test_a_gate_is_shown_with_what_the_vendor_said(pool: asyncpg.Pool) -> None:
    await fail(pool, limited(30), model="another")
    another, shut = await gate_states(pool)
    assert (another.model, another.is_shut, another.code) == ("another", False, None)
    assert another.limited_until is not None
    assert (shut.provider, shut.model, shut.failures) == ("placeholder", "placeholder-1", BURST)
    assert (shut.code, shut.message, shut.is_probing, shut.failed_probes) == (
        "HTTP_503",
        "the vendor stumbled",
        False,
        0,
    )
    assert shut.shut_at is not None
    assert shut.probe_at == shut.shut_at + timedelta(seconds=10)


async def test_a_report_that_finds_no_database_raises_nothing(database: str) -> None:
    gone = await open_pool(database, min_size=1, max_size=1, application_name="tests gone")
    await close_pool(gone)
    await fail(gone, temporary())
    await fail(gone, limited(1))
    await answer(gone)
