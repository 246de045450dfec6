"""What happens is posted: signed, in order, until it is taken."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from standardwebhooks import WebhookVerificationError

from safelight.db.pool import close_pool, open_pool
from safelight.db.statements import load
from safelight.delivery.webhooks.endpoints import DEFAULT, Endpoints
from safelight.delivery.webhooks.vault import Vault, new_key
from safelight.domain.events import EventType
from safelight.domain.ids import JobId
from safelight.engine.image.journal import append_event, locked_job
from tests.delivery import stage
from tests.delivery.receiver import Message, Receiver, status
from tests.delivery.stage import ACCOUNT, VAULT, courier, deliveries, endpoint, happen, job, nothing_waits
from tests.engine.by_hand import pass_time
from tests.orders import until

STARTED, DONE, PICTURE = EventType.JOB_STARTED, EventType.JOB_COMPLETED, EventType.IMAGE_COMPLETED


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
