"""Receivers that are away, hang, refuse or are gone: told again for as long as it is worth, and nobody else waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from safelight.delivery.webhooks import deliveries as sent
from safelight.delivery.webhooks.endpoints import Endpoints
from safelight.domain.events import EventType
from tests.delivery import stage
from tests.delivery.receiver import Message, Receiver, drip, hang, status
from tests.delivery.stage import ACCOUNT, QUICK, VAULT, courier, deliveries, endpoint, happen, job, nothing_waits
from tests.engine.by_hand import pass_time
from tests.orders import until

STARTED, DONE, PICTURE = EventType.JOB_STARTED, EventType.JOB_COMPLETED, EventType.IMAGE_COMPLETED


async def test_a_receiver_that_is_away_for_an_hour_hears_how_every_job_ended(pool: asyncpg.Pool, receiver: Receiver):
    """What else happened meanwhile is a gap that can be seen, and can be asked for."""
    await endpoint(pool, receiver.url())
    receiver.answer = status(503)
    async with courier(pool):
        jobs = [await job(pool) for _ in range(3)]
        for job_id in jobs:
            await happen(pool, job_id, STARTED, DONE)
        for _ in range(40):
            await until(pool, "SELECT NOT EXISTS (SELECT FROM webhook_lanes WHERE next_at <= safelight.now())")
            await pass_time(pool, 90)
        assert {each.status for each in await _all(pool)} == {"dead", "pending"}
        ends = await deliveries(pool, type="job.completed")
        assert [row["status"] for row in ends] == ["pending"] * 3
        assert all(row["attempt_count"] >= 4 for row in ends), "the ends were tried all the while"

        receiver.answer = status(204)
        await pass_time(pool, 2 * 3600)
        await nothing_waits(pool)
        assert [each.status for each in await _all(pool) if each.type == "job.completed"] == ["delivered"] * 3

        receiver.messages.clear()
        for each in await _all(pool):
            if each.status == "dead":
                await sent.redeliver(pool, each.message_id, account=ACCOUNT)
        await nothing_waits(pool)
    assert sorted(each.seq for each in receiver.messages) == [1, 1, 1, 2, 2, 2]
    assert {each.status for each in await _all(pool)} == {"delivered"}


@pytest.mark.parametrize("seq", [1, 2], ids=["an earlier one", "the one that hangs"])
async def test_what_is_sent_again_while_an_attempt_hangs_waits_no_longer_than_that(
    seq: int, pool: asyncpg.Pool, receiver: Receiver
):
    """The next pause of the message that hangs is five minutes."""
    await endpoint(pool, receiver.url(), "job.created", "job.completed")
    async with courier(pool, pace=replace(QUICK, call_seconds=0.5)):
        job_id = await job(pool)
        await nothing_waits(pool)
        receiver.answer = status(500)
        await happen(pool, job_id, DONE)
        await until(pool, "SELECT EXISTS (SELECT FROM deliveries WHERE status = 'pending' AND attempt_count = 1)")
        receiver.answer = hang
        await pass_time(pool, 10)
        await receiver.until(lambda: receiver.open == 1 and len(receiver.messages) == 3)
        receiver.answer = status(204)
        [wanted] = await deliveries(pool, seq=seq)
        await sent.redeliver(pool, wanted["message_id"], account=ACCOUNT)
        await nothing_waits(pool)

    assert [each.seq for each in receiver.messages] == [1, 2, 2, *range(seq, 3)]


async def test_what_is_sent_again_while_its_last_attempt_hangs_is_not_given_up(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url(), "job.completed", retry_seconds=[1.0])
    async with courier(pool, pace=replace(QUICK, call_seconds=0.5)):
        receiver.answer = status(500)
        await happen(pool, await job(pool), DONE)
        await stage.failed(pool, 1)
        receiver.answer = hang
        await pass_time(pool, 2)
        await receiver.until(lambda: receiver.open == 1 and len(receiver.messages) == 2)
        receiver.answer = status(204)
        [last] = await deliveries(pool)
        await sent.redeliver(pool, last["message_id"], account=ACCOUNT)
        await nothing_waits(pool)

    assert [row["status"] for row in await deliveries(pool)] == ["delivered"]


async def _all(pool: asyncpg.Pool) -> list[sent.Delivery]:
    return await sent.page(pool, sent.Wanted(account=ACCOUNT), before=None, limit=1000)


async def test_news_of_the_way_never_delay_the_news_of_the_end_for_long(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url())
    receiver.answer = status(500)
    job_id = await job(pool)
    await happen(pool, job_id, *[STARTED] * 60, DONE)
    async with courier(pool):
        passed = 0.0
        while not [each for each in receiver.messages if each.type == "job.completed"]:
            await until(pool, "SELECT NOT EXISTS (SELECT FROM webhook_lanes WHERE next_at <= safelight.now())")
            await pass_time(pool, 10)
            passed += 10

    assert passed <= 300
    dead = await deliveries(pool, status="dead")
    assert [row["seq"] for row in dead] == list(range(1, 62)), "a gap that can be seen, each of it kept"
    assert "given up with those before it" in dead[-1]["error"]


async def test_while_no_courier_is_there_no_receiver_fails(pool: asyncpg.Pool, receiver: Receiver):
    """A message keeps its four attempts when the service was stopped between two of them."""
    await endpoint(pool, receiver.url(), "job.created", "job.started")
    receiver.answer = status(503)
    job_id = await job(pool)
    await happen(pool, job_id, STARTED)
    for attempts in (1, 2, 3):
        async with courier(pool):
            await stage.failed(pool, attempts)
        await pass_time(pool, 3600)
    receiver.answer = status(204)
    async with courier(pool):
        await nothing_waits(pool)

    assert [(row["status"], row["attempt_count"]) for row in await deliveries(pool)] == [
        ("delivered", 4), ("delivered", 1)
    ]  # fmt: skip


async def test_endpoints_that_hang_delay_no_other(pool: asyncpg.Pool, receiver: Receiver):
    """Fifty of them, with more to be told than they may be told at once."""
    for number in range(50):
        await endpoint(pool, receiver.url(f"/hangs/{number}"), "job.started", "job.completed")
    await endpoint(pool, receiver.url("/healthy"))

    async def answer(message: Message, writer: asyncio.StreamWriter) -> None:
        await (hang if message.path.startswith("/hangs") else status(204))(message, writer)

    receiver.answer = answer
    async with courier(pool, pace=replace(QUICK, call_seconds=20.0, lease_seconds=25.0)):
        jobs = [await job(pool) for _ in range(5)]
        for job_id in jobs:
            await happen(pool, job_id, STARTED)
        await receiver.until(lambda: receiver.open >= 200)
        for job_id in jobs:
            await happen(pool, job_id, DONE)
        await receiver.until(lambda: sum(each.type == "job.completed" for each in receiver.of("/healthy")) == 5)
        hanging = sum(path.startswith("/hangs") for path in (each.path for each in receiver.messages))
        assert hanging == 200, "four at a time of each, and none of them has been answered or given up"
        await receiver.hang_up()
        receiver.answer = status(204)


async def test_as_many_endpoints_that_hang_as_an_account_may_have_delay_no_other(
    pool: asyncpg.Pool, receiver: Receiver
):
    """With more waiting at them than a process has places."""
    for number in range(99):
        await endpoint(pool, receiver.url(f"/hangs/{number}"), "job.created")
    await endpoint(pool, receiver.url("/healthy"), "job.completed")

    async def answer(message: Message, writer: asyncio.StreamWriter) -> None:
        await (hang if message.path.startswith("/hangs") else status(204))(message, writer)

    receiver.answer = answer
    jobs = [await job(pool) for _ in range(4)]
    async with courier(pool, pace=replace(QUICK, call_seconds=20.0, lease_seconds=25.0)):
        await receiver.until(lambda: receiver.open >= 224)
        for job_id in jobs:
            await happen(pool, job_id, DONE)
        await receiver.until(lambda: len(receiver.of("/healthy")) == 4, seconds=10)
        assert receiver.open >= 224, "none of the others has been answered or given up"
        await receiver.hang_up()
        receiver.answer = status(204)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (status(500), "500"),
        (status(404), "404"),
        (status(307, "location: /elsewhere"), "redirect"),
        (hang, "no answer within"),
    ],
    ids=["500", "404", "307", "hangs"],
)
async def test_whatever_is_no_2xx_is_tried_again(pool: asyncpg.Pool, receiver: Receiver, answer, why: str):
    await endpoint(pool, receiver.url())
    receiver.answer = answer
    async with courier(pool, pace=replace(QUICK, call_seconds=0.3)):
        await job(pool)
        await stage.failed(pool, 1)

    [row] = await deliveries(pool)
    assert row["status"] == "pending"
    assert why in row["error"]


@pytest.mark.parametrize(
    "answer", [status(200, body=b"\0" + b"x" * 10_000_000), drip, status(201, body="é".encode() * 5000)]
)
async def test_a_2xx_is_a_2xx_whatever_comes_after_its_head(pool: asyncpg.Pool, receiver: Receiver, answer):
    await endpoint(pool, receiver.url())
    receiver.answer = answer
    async with courier(pool, pace=replace(QUICK, call_seconds=0.5)):
        await job(pool)
        await nothing_waits(pool)

    [row] = await deliveries(pool)
    assert row["status"] == "delivered"
    assert len(row["reply"].encode()) <= 1024


async def test_a_receiver_that_is_gone_is_sent_nothing_more(pool: asyncpg.Pool, receiver: Receiver):
    endpoint_id, _ = await endpoint(pool, receiver.url())
    receiver.answer = status(410)
    job_id = await job(pool)
    await happen(pool, job_id, STARTED, DONE)
    async with courier(pool):
        await nothing_waits(pool)
        await happen(pool, job_id, DONE)

    assert len(receiver.messages) == 1
    assert [row["status"] for row in await deliveries(pool)] == ["dead"] * 3
    found = await Endpoints(pool, VAULT).one(endpoint_id, account=ACCOUNT)
    assert found.disabled_reason == "the receiver answered 410: it wants no more messages"


async def test_an_endpoint_that_takes_nothing_for_five_days_is_disabled(pool: asyncpg.Pool, receiver: Receiver):
    endpoint_id, _ = await endpoint(pool, receiver.url())
    receiver.answer = status(500)
    async with courier(pool):
        for _day in range(5):
            assert (await Endpoints(pool, VAULT).one(endpoint_id, account=ACCOUNT)).disabled_at is None
            await job(pool)
            await until(pool, "SELECT bool_and(attempt_count > 0) FROM deliveries")
            await nothing_is_under_way(pool)
            await pass_time(pool, 24.2 * 3600)
        await job(pool)
        await nothing_waits(pool)

    found = await Endpoints(pool, VAULT).one(endpoint_id, account=ACCOUNT)
    assert found.disabled_reason == "it has taken nothing for 120 hours"


async def test_a_bad_minute_and_then_days_without_messages_do_not_disable_it(pool: asyncpg.Pool, receiver: Receiver):
    endpoint_id, _ = await endpoint(pool, receiver.url())
    receiver.answer = status(500)
    async with courier(pool):
        await job(pool)
        for attempts in (1, 2, 3):
            await stage.failed(pool, attempts)
            await pass_time(pool, 3600)
        await nothing_waits(pool)
        await pass_time(pool, 121 * 3600)
        await job(pool)
        await until(pool, "SELECT attempt_count = 1 FROM deliveries ORDER BY id DESC LIMIT 1")
        await nothing_is_under_way(pool)

    assert (await Endpoints(pool, VAULT).one(endpoint_id, account=ACCOUNT)).disabled_at is None


async def test_an_endpoint_with_long_pauses_of_its_own_is_disabled_as_well(pool: asyncpg.Pool, receiver: Receiver):
    two_days = 48 * 3600.0
    endpoint_id, _ = await endpoint(pool, receiver.url(), "job.completed", retry_seconds=[two_days] * 5)
    receiver.answer = status(500)
    async with courier(pool):
        await happen(pool, await job(pool), DONE)
        for attempts in (1, 2, 3):
            await stage.failed(pool, attempts)
            assert (await Endpoints(pool, VAULT).one(endpoint_id, account=ACCOUNT)).disabled_at is None
            await pass_time(pool, two_days)
        await nothing_waits(pool)

    found = await Endpoints(pool, VAULT).one(endpoint_id, account=ACCOUNT)
    assert found.disabled_reason == "it has taken nothing for 120 hours"


async def test_a_success_in_between_keeps_it_enabled(pool: asyncpg.Pool, receiver: Receiver):
    endpoint_id, _ = await endpoint(pool, receiver.url())
    receiver.answer = status(500)
    async with courier(pool):
        await job(pool)
        await stage.failed(pool, 1)
        receiver.answer = status(204)
        await pass_time(pool, 60)
        await nothing_waits(pool)
        receiver.answer = status(500)
        await pass_time(pool, 121 * 3600)
        await job(pool)
        await until(pool, "SELECT attempt_count = 1 FROM deliveries ORDER BY id DESC LIMIT 1")

    assert (await Endpoints(pool, VAULT).one(endpoint_id, account=ACCOUNT)).disabled_at is None


async def nothing_is_under_way(pool: asyncpg.Pool) -> None:
    await until(pool, "SELECT NOT EXISTS (SELECT FROM webhook_lanes WHERE next_at <= safelight.now())")
    await until(pool, "SELECT NOT EXISTS (SELECT FROM webhook_lanes WHERE claim_token IS NOT NULL)")


@pytest.mark.parametrize(("code", "rests"), [(503, True), (429, True), (500, False)])
async def test_a_receiver_that_asks_for_rest_has_it(pool: asyncpg.Pool, receiver: Receiver, code: int, rests: bool):
    await endpoint(pool, receiver.url(), "job.completed")
    receiver.answer = status(code, "retry-after: 1800")
    async with courier(pool):
        await happen(pool, await job(pool), DONE)
        await stage.failed(pool, 1)

    waits = await pool.fetchval("SELECT extract(epoch FROM due_at - attempted_at) FROM deliveries")
    assert waits == pytest.approx(1800 if rests else 5, abs=2)
