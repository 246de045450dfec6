"""A lane is sent by one process at a time, whoever dies, stalls or comes second."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest

from safelight.db.statements import load
from safelight.delivery.webhooks.courier import forget_old
from safelight.delivery.webhooks.endpoints import DEFAULT, Endpoints, Terms
from safelight.delivery.webhooks.signing import new_secret
from safelight.domain.errors import Conflict
from safelight.domain.events import EventType
from safelight.net.egress import EgressGuard, parse_allowances
from safelight.net.post import Posted
from tests.delivery.receiver import Message, Receiver, status
from tests.delivery.stage import (
    ACCOUNT,
    QUICK,
    VAULT,
    claim,
    courier,
    deliveries,
    endpoint,
    failed,
    happen,
    job,
    nothing_waits,
    post_to_loopback,
)
from tests.engine.by_hand import pass_time
from tests.net.connects import hearing
from tests.orders import until

STARTED, DONE = EventType.JOB_STARTED, EventType.JOB_COMPLETED
_SQL = load("courier")


async def claimed(pool: asyncpg.Pool, *, seconds: float = 10.0) -> tuple[str, str, object]:
    [row] = await claim(pool, 10, seconds=seconds)
    return row["endpoint_id"], row["lane"], row["claim_token"]


async def test_three_couriers_tell_of_everything_once_and_in_order(pool: asyncpg.Pool, receiver: Receiver):
    for number in range(3):
        await endpoint(pool, receiver.url(f"/{number}"), "job.created", "job.started", "job.completed")
    async with AsyncExitStack() as couriers:
        for _ in range(3):
            await couriers.enter_async_context(courier(pool))
        jobs = await asyncio.gather(*(job(pool) for _ in range(10)))
        await asyncio.gather(*(happen(pool, each, STARTED, DONE) for each in jobs))
        await nothing_waits(pool)

    lanes: dict[tuple[str, str], list[int]] = {}
    for each in receiver.messages:
        lanes.setdefault((each.path, each.document["data"]["job_id"]), []).append(each.seq)
    assert len(lanes) == 30
    assert set(map(tuple, lanes.values())) == {(1, 2, 3)}


async def test_a_lane_whose_courier_died_is_taken_again_when_its_lease_has_ended(
    pool: asyncpg.Pool, receiver: Receiver
):
    await endpoint(pool, receiver.url())
    job_id = await job(pool)
    await claimed(pool, seconds=30.0)
    await happen(pool, job_id, DONE)
    async with courier(pool):
        await until(pool, "SELECT count(*) > 0 FROM webhook_lanes WHERE claim_token IS NOT NULL")
        assert receiver.messages == []
        await pass_time(pool, 31)
        await nothing_waits(pool)

    assert [each.seq for each in receiver.messages] == [1, 2]


async def test_whoever_lost_a_lane_changes_nothing_of_it(pool: asyncpg.Pool, receiver: Receiver):
    """Every write names the token: of an attempt that ended too late nothing is known but that it may come twice."""
    await endpoint(pool, receiver.url())
    await job(pool)
    stale = await claimed(pool)
    await pass_time(pool, 11)
    current = await claimed(pool)
    [row] = await deliveries(pool)
    before = (await deliveries(pool), await pool.fetch("SELECT * FROM webhook_lanes"))

    for statement, arguments in (
        (_SQL.mark_delivered, (row["id"], 204, None, True, 1, 10.0, receiver.url())),
        (_SQL.mark_failed, (row["id"], 500, "no", None, 5.0, 0)),
        (_SQL.mark_dead, (row["id"], 500, "no", None, None, 10.0, True, 0)),
        (_SQL.put_off, (row["id"], "no", 60.0)),
        (_SQL.abandon, ("no",)),
        (_SQL.let_go, (1,)),
        (_SQL.hand_back, ()),
        (_SQL.discard, (1,)),
        (_SQL.drop_progress, ()),
        (_SQL.begin_progress, (0.5, ACCOUNT)),
        (_SQL.give_up_older, (0.0, [], "no")),
    ):
        assert await pool.fetch(statement, *stale, *arguments) == []
    assert await pool.fetch(_SQL.look, *stale, 10) == []
    assert (await deliveries(pool), await pool.fetch("SELECT * FROM webhook_lanes")) == before
    assert await pool.fetchval(_SQL.mark_delivered, *current, row["id"], 204, None, True, 1, 10.0, receiver.url())


async def test_what_happens_while_a_lane_is_left_is_not_forgotten_in_it(pool: asyncpg.Pool):
    await endpoint(pool, "https://receiver.example/", "job.created", "job.completed")
    job_id = await job(pool)
    lane = await claimed(pool)
    [seen] = await pool.fetch(_SQL.look, *lane, 10)
    await happen(pool, job_id, DONE)
    await pool.fetch(_SQL.mark_delivered, *lane, seen["id"], 204, None, True, seen["revision"], 10.0, seen["url"])

    assert await claimed(pool) is not None


async def test_what_happens_while_a_lane_rests_does_not_hasten_it(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url())
    receiver.answer = status(500)
    async with courier(pool):
        job_id = await job(pool)
        await failed(pool, 1)
        rests_until = await pool.fetchval("SELECT next_at FROM webhook_lanes")
        await happen(pool, job_id, STARTED, DONE)
        assert await pool.fetchval("SELECT next_at FROM webhook_lanes") == rests_until

    assert len(receiver.messages) == 1


async def test_nothing_is_sent_that_could_not_end_within_the_lease(pool: asyncpg.Pool, receiver: Receiver):
    """A process that was stopped after its claim: somebody else may have the lane by now."""
    await endpoint(pool, receiver.url())
    await job(pool)
    async with courier(pool, pace=replace(QUICK, call_seconds=5.0, lease_seconds=4.9)):
        await until(pool, "SELECT count(*) > 0 FROM webhook_lanes WHERE claim_token IS NOT NULL")
        await pass_time(pool, 6)
        await until(pool, "SELECT count(*) > 0 FROM webhook_lanes WHERE next_at > safelight.now()")

    assert receiver.messages == []


async def test_a_courier_that_stops_lets_its_message_be_answered_and_leaves_the_rest_to_others(
    pool: asyncpg.Pool, receiver: Receiver
):
    await endpoint(pool, receiver.url())
    answer_now = asyncio.Event()

    async def answer(message: Message, writer: asyncio.StreamWriter) -> None:
        await answer_now.wait()
        await status(204)(message, writer)

    receiver.answer = answer
    job_id = await job(pool)
    await happen(pool, job_id, STARTED, DONE)
    async with courier(pool) as first:
        await receiver.has(1)
        first.stop()
        answer_now.set()
    assert [row["status"] for row in await deliveries(pool)] == ["delivered", "pending", "pending"]
    async with courier(pool):
        await nothing_waits(pool)

    assert [each.seq for each in receiver.messages] == [1, 2, 3]


_LOSE_THE_NEXT_NOTE = """
    CREATE SEQUENCE notes;  -- what was taken from one stays taken when its transaction fails
    CREATE FUNCTION lose_the_first() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('notes') = 1 THEN RAISE EXCEPTION 'the server was shut down' USING ERRCODE = '57P01'; END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER lose_the_first AFTER INSERT OR UPDATE OR DELETE ON deliveries EXECUTE FUNCTION lose_the_first();
"""


async def test_a_database_that_goes_away_between_an_answer_and_its_note_costs_one_message_twice(
    pool: asyncpg.Pool, receiver: Receiver
):
    await endpoint(pool, receiver.url())
    to_loopback, cut = post_to_loopback(), []

    async def post(url: str, *, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Posted:
        posted = await to_loopback(url, body=body, headers=headers, timeout_seconds=timeout_seconds)
        if not cut:
            cut.append(True)
            await pool.execute(_LOSE_THE_NEXT_NOTE)
        return posted

    job_id = await job(pool)
    await happen(pool, job_id, DONE)
    async with courier(pool, post=post):
        await until(pool, "SELECT to_regclass('notes') IS NOT NULL")
        await until(pool, "SELECT is_called FROM notes")
        await pass_time(pool, 11)
        await nothing_waits(pool)

    assert [each.seq for each in receiver.messages] == [1, 1, 2]
    first, again, _ = receiver.messages
    assert first.id == again.id


async def test_a_name_that_turns_private_is_not_followed_on_any_attempt(pool: asyncpg.Pool, receiver: Receiver):
    """Between two attempts, and between the check and the connection."""
    answers = iter([["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1", "10.0.0.1"], ["127.0.0.1"]])
    asked: list[list[str]] = []

    async def resolve(_host: str, _port: int) -> list[str]:
        asked.append(next(answers))
        return asked[-1]

    guard = EgressGuard(parse_allowances("http://127.0.0.1:*"), resolve=resolve)
    await endpoint(pool, f"http://hooks.example:{receiver.port}/hook", "job.completed")
    receiver.answer = status(500)
    with hearing() as heard:
        async with courier(pool, post=guard.post):
            await happen(pool, await job(pool), DONE)
            for attempts in (1, 2, 3):
                await failed(pool, attempts)
                receiver.answer = status(204)
                await pass_time(pool, 2 * 3600)
            await nothing_waits(pool)

    assert len(asked) == 4
    assert len(receiver.messages) == 2
    to_receiver = [address for address in heard.connects if address[1] == receiver.port]
    assert to_receiver == [("127.0.0.1", receiver.port)] * 2
    assert not [address for address in heard.connects if str(address[0]).startswith(("169.254.", "10."))]
    assert "hooks.example" not in heard.lookups


async def test_an_endpoint_that_is_deleted_hears_nothing_more(pool: asyncpg.Pool, receiver: Receiver):
    endpoint_id, _ = await endpoint(pool, receiver.url())
    receiver.answer = status(500)
    async with courier(pool):
        job_id = await job(pool)
        await happen(pool, job_id, DONE)
        await failed(pool, 1)
        await Endpoints(pool, VAULT).delete(endpoint_id, account=ACCOUNT)
        await nothing_waits(pool)
        await happen(pool, job_id, DONE)

    assert len(receiver.messages) == 1
    assert {row["error"] for row in await deliveries(pool)} == {"its endpoint is disabled or deleted"}
    assert await pool.fetchval("SELECT count(*) FROM webhook_secrets") == 0


async def test_old_messages_are_forgotten_with_their_lanes(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url(), "job.created")
    async with courier(pool):
        await job(pool)
        await nothing_waits(pool)
        await pass_time(pool, 31 * 86_400)
        receiver.answer = status(500)
        await job(pool)
        await until(pool, "SELECT bool_or(attempt_count = 1 AND status = 'pending') FROM deliveries")

    assert await forget_old(pool, older_than=timedelta(days=30)) == 1
    assert [row["status"] for row in await deliveries(pool)] == ["pending"]
    assert await pool.fetchval("SELECT count(*) FROM webhook_lanes") == 1


async def test_a_wish_for_progress_leaves_a_closed_endpoint_with_its_messages(pool: asyncpg.Pool, receiver: Receiver):
    """Else its lane is due for ever, and is taken again every few milliseconds."""
    endpoint_id, _ = await endpoint(pool, receiver.url())
    await happen(pool, await job(pool), EventType.IMAGE_COMPLETED, image_id="one")
    await Endpoints(pool, VAULT).delete(endpoint_id, account=ACCOUNT)
    async with asyncio.timeout(10), courier(pool):
        await nothing_waits(pool)

    assert receiver.messages == []


@pytest.mark.parametrize("moved", [False, True])
async def test_an_endpoint_that_is_deleted_or_moved_between_two_messages_hears_only_the_first(
    pool: asyncpg.Pool, receiver: Receiver, moved: bool
):
    endpoint_id, _ = await endpoint(pool, receiver.url("/before"), "job.created", "job.started", "job.completed")
    endpoints = Endpoints(pool, VAULT)

    async def answer(message: Message, writer: asyncio.StreamWriter) -> None:
        if len(receiver.messages) == 1 and moved:
            await endpoints.change(endpoint_id, Terms(url=receiver.url("/after")), account=ACCOUNT, enable=False)
        elif len(receiver.messages) == 1:
            await endpoints.delete(endpoint_id, account=ACCOUNT)
        await status(204)(message, writer)

    receiver.answer = answer
    await happen(pool, await job(pool), EventType.JOB_STARTED, DONE)
    async with courier(pool):
        await nothing_waits(pool)

    assert [each.path for each in receiver.messages] == (["/before", "/after", "/after"] if moved else ["/before"])


async def test_a_default_that_a_courier_makes_while_it_is_rotated_does_not_take_the_place_of_the_one_that_is_shown(
    pool: asyncpg.Pool, receiver: Receiver
):
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute(load("webhooks").insert_secret, ACCOUNT, None, VAULT.seal(new_secret()))
        rotating = asyncio.create_task(Endpoints(pool, VAULT).rotate(DEFAULT, account=ACCOUNT))
        await until(pool, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid')")
    secret = (await rotating).secret
    async with courier(pool):
        await job(pool, url=receiver.url())
        await nothing_waits(pool)

    receiver.messages[0].verified(secret)


async def test_a_receiver_whose_retry_after_is_garbage_has_failed_like_any_other(
    pool: asyncpg.Pool, receiver: Receiver
):
    await endpoint(pool, receiver.url())
    date = "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"
    receiver.answer = status(503, f"retry-after: {date}", f"date: {date}")
    async with asyncio.timeout(8), courier(pool):
        await job(pool)
        await failed(pool, 1)


async def test_endpoints_that_are_made_at_once_are_no_more_than_the_most(pool: asyncpg.Pool):
    for _ in range(97):
        await endpoint(pool, "http://127.0.0.1:1/")
    made = await asyncio.gather(*(endpoint(pool, "http://127.0.0.1:1/") for _ in range(8)), return_exceptions=True)

    assert sum(isinstance(each, Conflict) for each in made) == 5
    assert await pool.fetchval("SELECT count(*) FROM webhook_endpoints") == 100
