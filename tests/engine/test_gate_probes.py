"""A shut gate is tried by one probe at a time: when, by which image, and until when."""

from __future__ import annotations

import asyncpg
import pytest

from safelight.domain.errors import Billed
from safelight.domain.gates import BURST
from safelight.engine.gates import gate_states, notices, probe_now
from safelight.providers.provider import ProviderError
from tests.engine.by_hand import pass_time
from tests.engine.gate_stage import (
    admitted,
    answer,
    bad_key,
    bad_request,
    fail,
    is_shut,
    paused,
    probe_pause,
    put_back,
    send,
    state,
    temporary,
    timeout,
    told,
    waiting,
    worked,
)
from tests.engine.test_claim import register

__all__ = ["paused", "worked"]  # fixtures: a gate that is shut, and a provider that has delivered before


@pytest.mark.usefixtures("paused")
async def test_each_failed_probe_doubles_the_pause_up_to_its_bound(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await waiting(pool, "placeholder-1", "placeholder-1")
    pauses = [round(await probe_pause(pool))]
    while len(pauses) < 8:
        await pass_time(pool, pauses[-1] - 2)
        assert await admitted(pool, queue) == [], "not yet"
        await pass_time(pool, 3)
        [probe] = await admitted(pool, queue)
        assert not await is_shut(pool, row_id=probe)
        assert await is_shut(pool, row_id=probe + 1)
        await send(pool, probe)
        await fail(pool, temporary(), row_id=probe)
        await put_back(pool, probe)
        assert await is_shut(pool, row_id=probe), "it was the probe, and is no more"
        pauses.append(round(await probe_pause(pool)))
    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]
    assert len(await told(pool)) == 1, "one pause, however often it was tried"


@pytest.mark.parametrize("error", [None, bad_request(), temporary(billed=Billed.YES)], ids=repr)
@pytest.mark.usefixtures("paused")
async def test_an_answer_to_the_probe_opens_the_gate(
    error: ProviderError | None, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await waiting(pool, *["placeholder-1"] * 4)
    await pass_time(pool, 11)
    [probe] = await admitted(pool, queue)
    await send(pool, probe)
    await (answer(pool, row_id=probe) if error is None else fail(pool, error, row_id=probe))
    assert await gate_states(pool) == []
    assert not await is_shut(pool)
    [_, resumed] = await notices(pool, 0)
    assert (resumed.type, resumed.model, resumed.code) == ("provider.resumed", "placeholder-1", "HTTP_503")
    assert 11 <= resumed.data["paused_seconds"] < 60
    assert len(await admitted(pool, queue)) == 3


@pytest.mark.usefixtures("worked")
async def test_one_answer_opens_the_account_s_gate_and_the_model_s(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool)
    await fail(pool, temporary(), times=BURST)
    await fail(pool, bad_key(), model="another")
    await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    [probe] = await admitted(pool, queue)
    await answer(pool, row_id=probe)
    assert await gate_states(pool) == []
    assert sorted(model or "" for kind, model, _ in await told(pool) if kind == "provider.resumed") == [
        "",
        "placeholder-1",
    ]


@pytest.mark.usefixtures("worked")
async def test_a_probe_of_the_account_that_meets_a_vendor_in_trouble_has_failed(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await fail(pool, bad_key())
    [probe] = await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, timeout(), row_id=probe)
    account, model = await gate_states(pool)
    assert (account.model, account.is_shut, account.failed_probes, account.code) == (None, True, 1, "TIMEOUT")
    assert (model.model, model.is_shut, model.failures) == ("placeholder-1", False, 1)


@pytest.mark.usefixtures("worked")
async def test_a_probe_of_a_model_that_meets_a_key_that_is_gone_says_nothing_of_the_model(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await fail(pool, temporary(), times=BURST)
    [probe] = await waiting(pool, "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [probe]
    await fail(pool, bad_key(), row_id=probe)
    account, model = await gate_states(pool)
    assert (account.model, account.code) == (None, "API_KEY_INVALID")
    assert (model.is_shut, model.code, model.failed_probes, model.is_probing) == (True, "HTTP_503", 0, False)


@pytest.mark.usefixtures("paused")
async def test_a_probe_whose_image_went_another_way_without_a_call_leaves_its_place_at_once(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    first, second = await waiting(pool, "placeholder-1", "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [first]
    await pool.execute("UPDATE images SET status = 'canceled', admitted_at = NULL WHERE row_id = $1", first)
    assert await admitted(pool, queue) == [second]
    assert not await is_shut(pool, row_id=second)
    assert await is_shut(pool, row_id=first)


@pytest.mark.usefixtures("paused")
async def test_a_probe_that_nobody_reports_on_ends_with_its_lease(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    """Its worker was killed: the image has 10 s of its own, and 15 s of grace."""
    first, second = await waiting(pool, "placeholder-1", "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [first]
    await pool.execute(
        "UPDATE images SET status = 'processing', admitted_at = NULL, claim_token = gen_random_uuid()"
        " WHERE row_id = $1",
        first,
    )
    await pass_time(pool, 24)
    assert await admitted(pool, queue) == []
    assert not await is_shut(pool, row_id=first)
    await pass_time(pool, 2)
    assert await is_shut(pool, row_id=first), "too late for its call"
    assert await admitted(pool, queue) == [second]
    assert await is_shut(pool, row_id=first)


@pytest.mark.usefixtures("paused")
async def test_a_probe_is_out_for_as_long_as_its_call_may_answer(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    first, second = await waiting(pool, "placeholder-1", "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [first]
    await pass_time(pool, 20)  # the queue was slow
    await send(pool, first, resolves_in_seconds=25.0)
    await pass_time(pool, 20)
    assert (await state(pool)).is_probing
    assert await admitted(pool, queue) == []
    await pass_time(pool, 6)
    assert await admitted(pool, queue) == [second]


@pytest.mark.usefixtures("paused")
async def test_a_probe_that_another_provider_made_meanwhile_holds_no_place(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    first, second = await waiting(pool, "placeholder-1", "placeholder-1")
    await pass_time(pool, 11)
    assert await admitted(pool, queue) == [first]
    await pool.execute("UPDATE images SET provider = 'gemini', model = 'g' WHERE row_id = $1", first)
    await send(pool, first)
    assert await admitted(pool, queue) == [second]


@pytest.mark.usefixtures("paused")
async def test_what_may_have_been_mended_is_tried_at_once(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    first, _ = await waiting(pool, "placeholder-1", "placeholder-1")
    await probe_now(pool, ["gemini"])
    assert await admitted(pool, queue) == []
    await probe_now(pool, ["placeholder", "gemini"])
    assert await admitted(pool, queue) == [first]
