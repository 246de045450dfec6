"""What happens is posted: signed, in order, until it is taken."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import pytest
from standardwebhooks import WebhookVerificationError

from safelight.db.pool import close_pool, open_pool
from safelight.db.statements import load
from safelight.delivery.webhooks import deliveries as sent
from safelight.delivery.webhooks.endpoints import DEFAULT, Endpoints
from safelight.delivery.webhooks.vault import Vault, new_key
from safelight.domain.events import EventType
from safelight.domain.ids import JobId
from safelight.engine.journal import append_event, locked_job
from tests.delivery import stage
from tests.delivery.receiver import Message, Receiver, drip, hang, receiving, status
from tests.delivery.stage import ACCOUNT, QUICK, VAULT, courier, deliveries, endpoint, happen, job, nothing_waits
from tests.engine.by_hand import pass_time
from tests.orders import until

STARTED, DONE, PICTURE = EventType.JOB_STARTED, EventType.JOB_COMPLETED, EventType.IMAGE_COMPLETED


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


async def test_everything_that_happens_is_posted_signed_and_in_order(pool: asyncpg.Pool, receiver: Receiver):
    endpoint_id, secret = await endpoint(pool, receiver.url("/all"))
    _, other_secret = await endpoint(pool, receiver.url("/ends"), "job.completed")
    async with courier(pool):
        job_id = await job(pool)
        await happen(pool, job_id, STARTED, PICTURE, DONE, image_id="one")
        await nothing_waits(pool)

    told = receiver.of("/all")
    assert [(each.type, each.seq) for each in told if each.type != "job.progress"] == [
        ("job.created", 1), ("job.started", 2), ("image.completed", 3), ("job.completed", 4)
    ]  # fmt: skip
    for message in told:
        assert message.verified(secret)["data"]["job_id"] == job_id
        assert message.headers["content-type"] == "application/json"
        with pytest.raises(WebhookVerificationError):
            message.verified(other_secret)
    picture = next(each for each in told if each.type == "image.completed").document
    assert picture["data"]["image_url"] == f"https://images.example/v1/jobs/{job_id}/images/one"
    assert [each.type for each in receiver.of("/ends")] == ["job.completed"]
    rows = await deliveries(pool, endpoint_id=endpoint_id, status="delivered")
    assert {row["message_id"] for row in rows} == {each.id for each in told}
    assert all((row["attempt_count"], row["http_status"], row["error"]) == (1, 204, None) for row in rows)


async def test_a_message_exists_exactly_when_its_event_does(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url())
    job_id = await job(pool)
    with pytest.raises(RuntimeError):
        await _append_and_break(pool, job_id)

    assert [row["type"] for row in await deliveries(pool)] == ["job.created"]
    assert await pool.fetchval("SELECT count(*) FROM events") == 1


async def _append_and_break(pool: asyncpg.Pool, job_id: JobId) -> None:
    async with locked_job(pool, job_id) as (conn, _job):
        await append_event(conn, job_id, STARTED)
        raise RuntimeError


async def test_a_job_has_an_address_of_its_own_and_is_signed_for_with_the_accounts_default(
    pool: asyncpg.Pool, receiver: Receiver
):
    secret = (await Endpoints(pool, VAULT).rotate(DEFAULT, account=ACCOUNT)).secret
    async with courier(pool):
        mine = await job(pool, url=receiver.url("/mine"), events=["job.created", "job.completed"])
        other = await job(pool)
        for each in (mine, other):
            await happen(pool, each, STARTED, DONE)
        await nothing_waits(pool)

    assert [each.verified(secret)["type"] for each in receiver.messages] == ["job.created", "job.completed"]
    assert {each.document["data"]["job_id"] for each in receiver.messages} == {mine}


async def test_the_default_secret_is_made_when_it_is_first_needed(pool: asyncpg.Pool, receiver: Receiver):
    async with courier(pool):
        await job(pool, url=receiver.url())
        await nothing_waits(pool)
        rotated = await Endpoints(pool, VAULT).rotate(DEFAULT, account=ACCOUNT)
        assert rotated.previous_expires_at is not None
        await job(pool, url=receiver.url())
        await nothing_waits(pool)

    first, second = receiver.messages
    with pytest.raises(WebhookVerificationError):
        first.verified(rotated.secret)
    second.verified(rotated.secret)
    assert len(second.headers["webhook-signature"].split()) == 2


async def test_nothing_overtakes_a_message_that_is_not_taken(pool: asyncpg.Pool, receiver: Receiver):
    """At least once, in order, the same id on every attempt, and a time and signature of its own for each."""
    _, secret = await endpoint(pool, receiver.url())
    refusals = iter([status(500), status(404), status(302, "location: /elsewhere")])

    async def answer(message: Message, writer: asyncio.StreamWriter) -> None:
        refuse = next(refusals, None) if message.type == "job.started" else None
        await (refuse or status(200, body=b"thanks"))(message, writer)

    receiver.answer = answer
    async with courier(pool):
        job_id = await job(pool)
        await happen(pool, job_id, STARTED, DONE)
        for attempts, pause_seconds in ((1, 5), (2, 30), (3, 120)):
            await until(pool, "SELECT max(attempt_count) = $1 FROM deliveries WHERE seq = 2", attempts)
            await pass_time(pool, pause_seconds)
        await nothing_waits(pool)

    assert [each.seq for each in receiver.messages] == [1, 2, 2, 2, 2, 3]
    assert {each.path for each in receiver.messages} == {"/hook"}, "no redirect is followed"
    retried = [each for each in receiver.messages if each.seq == 2]
    assert len({each.id for each in retried}) == 1
    assert len({each.body for each in retried}) == 1
    for each in retried:
        each.verified(secret)
    [row] = await deliveries(pool, seq=2)
    assert (row["attempt_count"], row["http_status"], row["error"], row["reply"]) == (4, 200, None, "thanks")


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
    async with courier(pool):
        job_id = await job(pool)
        await happen(pool, job_id, STARTED, DONE)
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


async def test_both_secrets_sign_while_one_takes_the_others_place(pool: asyncpg.Pool, receiver: Receiver):
    endpoint_id, first = await endpoint(pool, receiver.url())
    endpoints = Endpoints(pool, VAULT)
    receiver.answer = status(500)
    async with courier(pool):
        await job(pool)
        await stage.failed(pool, 1)
        second = (await endpoints.rotate(endpoint_id, account=ACCOUNT, overlap_seconds=600)).secret
        receiver.answer = status(204)
        await pass_time(pool, 60)
        await nothing_waits(pool)
        third = (await endpoints.rotate(endpoint_id, account=ACCOUNT, overlap_seconds=600)).secret
        await job(pool)
        await nothing_waits(pool)
        await pass_time(pool, 601)
        await job(pool)
        await nothing_waits(pool)

    of_first, in_retry, twice_rotated, afterwards = receiver.messages
    of_first.verified(first)
    assert in_retry.id == of_first.id
    for message, good, bad in (
        (in_retry, (first, second), ()),
        (twice_rotated, (second, third), (first,)),
        (afterwards, (third,), (first, second)),
    ):
        for secret in good:
            message.verified(secret)
        for secret in bad:
            with pytest.raises(WebhookVerificationError):
                message.verified(secret)
    assert await pool.fetchval("SELECT count(*) FROM webhook_secrets") == 2


async def test_a_secret_that_cannot_be_opened_keeps_its_messages_waiting_and_says_what_to_do(
    pool: asyncpg.Pool, receiver: Receiver
):
    endpoint_id, _ = await endpoint(pool, receiver.url())
    foreign = Vault([new_key()])
    async with courier(pool, vault=foreign):
        await job(pool)
        await until(pool, "SELECT error IS NOT NULL FROM deliveries")
        [row] = await deliveries(pool)
        assert (row["status"], row["attempt_count"]) == ("pending", 0)
        assert "SAFELIGHT_SECRET_KEY" in row["error"]
        # The key is lost for good: a new secret, sealed under the new one, beside the old one that nobody can open.
        secret = (await Endpoints(pool, foreign).rotate(endpoint_id, account=ACCOUNT)).secret
        await pass_time(pool, 61)
        await nothing_waits(pool)

    [message] = receiver.messages
    message.verified(secret)


async def test_what_concerns_the_account_reaches_its_endpoints_and_no_jobs_own(pool: asyncpg.Pool, receiver: Receiver):
    _, secret = await endpoint(pool, receiver.url("/account"), "provider.paused")
    await job(pool, url=receiver.url("/job"), events=["job.completed"])
    notice = (
        "INSERT INTO notices (at, type, provider, model, code, message, data, account)"
        " VALUES (safelight.now(), $1, 'gemini', '', 'NO_CREDIT', 'Pay first', '{\"probe_at\": null}', $2)"
    )
    async with courier(pool):
        await pool.execute(notice, "provider.paused", None)
        await pool.execute(notice, "provider.resumed", None)
        await pool.execute(notice, "provider.paused", "somebody-else")
        await nothing_waits(pool)

    [message] = receiver.messages
    told = message.verified(secret)
    assert (told["type"], message.path) == ("provider.paused", "/account")
    assert told["data"] == {"provider": "gemini", "code": "NO_CREDIT", "message": "Pay first", "probe_at": None}


async def test_what_is_no_longer_kept_is_given_up(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url())
    job_id = await job(pool)
    await happen(pool, job_id, DONE)
    await pool.execute("DELETE FROM events WHERE seq = 1")
    async with courier(pool):
        await nothing_waits(pool)

    assert [each.type for each in receiver.messages] == ["job.completed"]
    assert [row["error"] for row in await deliveries(pool, status="dead")] == ["what it told of is no longer kept"]


async def test_an_event_that_is_too_long_keeps_its_ids(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url(), "job.retried")
    job_id = await job(pool)
    async with courier(pool):
        async with locked_job(pool, job_id) as (conn, _job):
            many = [f"image-{number:040}" for number in range(500)]
            await append_event(conn, job_id, EventType.JOB_RETRIED, data={"images": many})
        await nothing_waits(pool)

    [message] = receiver.messages
    assert len(message.body) < 20_000
    assert message.document["data"] == {
        "job_id": job_id, "seq": 2, "job_url": f"https://images.example/v1/jobs/{job_id}", "is_shortened": True
    }  # fmt: skip


async def test_who_listens_is_found_without_a_look_at_jobs(database: str) -> None:
    """Planned while there are few, as by a new installation's worker, it would read all that come, for each event."""
    pool = await open_pool(database, min_size=1, max_size=1, application_name="tests", for_queues=True)
    try:
        async with pool.acquire() as conn:
            await conn.execute(f"PREPARE post AS {load('jobs').post_events}")
            plan = await conn.fetch("EXPLAIN EXECUTE post('job_1', ARRAY['image.completed'], 3, 'default')")
    finally:
        await close_pool(pool)
    assert " on jobs" not in "\n".join(row[0] for row in plan)
