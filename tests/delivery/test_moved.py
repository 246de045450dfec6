"""A webhook that was given another address is judged by what that one says, and by nothing that came before."""

from __future__ import annotations

import asyncio

import asyncpg

from safelight.delivery.webhooks.endpoints import Endpoint, Endpoints, Terms
from safelight.domain.events import EventType
from tests.delivery.receiver import Message, Receiver, status
from tests.delivery.stage import ACCOUNT, VAULT, courier, endpoint, happen, job, nothing_waits
from tests.engine.by_hand import pass_time
from tests.orders import until


async def test_the_address_of_before_does_not_close_the_new_one(pool: asyncpg.Pool, receiver: Receiver) -> None:
    endpoints = Endpoints(pool, VAULT)
    endpoint_id, _ = await endpoint(pool, receiver.url("/old"))
    came, goes_on = asyncio.Event(), asyncio.Event()

    async def answer(message: Message, writer: asyncio.StreamWriter) -> None:
        if message.path == "/old":
            came.set()
            await goes_on.wait()
        await status(410 if message.path == "/old" else 204)(message, writer)

    receiver.answer = answer
    async with courier(pool), asyncio.timeout(30):
        job_id = await job(pool)
        await came.wait()
        await endpoints.change(endpoint_id, Terms(url=receiver.url("/new")), account=ACCOUNT, enable=True)
        await happen(pool, job_id, EventType.JOB_STARTED)
        goes_on.set()
        await nothing_waits(pool)

    assert (await endpoints.one(endpoint_id, account=ACCOUNT)).disabled_at is None
    assert [message.type for message in receiver.of("/new")] == ["job.created", "job.started"]


async def test_a_new_address_may_fail_once(pool: asyncpg.Pool, receiver: Receiver) -> None:
    endpoints = Endpoints(pool, VAULT)
    endpoint_id, _ = await endpoint(pool, receiver.url("/old"))
    receiver.answer = status(500)
    async with courier(pool):
        await job(pool)
        await until(pool, "SELECT bool_and(attempt_count > 0) FROM deliveries")
        await until(pool, "SELECT NOT EXISTS (SELECT FROM webhook_lanes WHERE claim_token IS NOT NULL)")
    await pool.execute("UPDATE webhook_endpoints SET failing_since = safelight.now() - interval '119 hours'")
    await endpoints.change(endpoint_id, Terms(url=receiver.url("/new")), account=ACCOUNT, enable=False)
    await pass_time(pool, 2 * 3600)

    async def answer(message: Message, writer: asyncio.StreamWriter) -> None:
        await status(503 if len(receiver.of("/new")) == 1 else 204)(message, writer)

    receiver.answer = answer
    async with courier(pool):
        await until(pool, "SELECT bool_and(attempt_count > 1) FROM deliveries")
        await until(pool, "SELECT NOT EXISTS (SELECT FROM webhook_lanes WHERE claim_token IS NOT NULL)")

    assert (await endpoints.one(endpoint_id, account=ACCOUNT)).disabled_at is None


async def test_of_two_changes_at_once_the_second_keeps_what_the_first_has_changed(pool: asyncpg.Pool) -> None:
    endpoints = Endpoints(pool, VAULT)
    endpoint_id, _ = await endpoint(pool, "http://127.0.0.1:9/old")

    def described(now: Endpoint) -> Terms:
        return Terms(url=now.url, description="mine")

    async with pool.acquire() as other, asyncio.timeout(30):
        async with other.transaction():
            await other.execute("UPDATE webhook_endpoints SET url = 'http://127.0.0.1:9/new'")
            changing = asyncio.create_task(endpoints.change(endpoint_id, described, account=ACCOUNT, enable=False))
            await until(pool, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted")
        changed = await changing

    assert (changed.url, changed.description) == ("http://127.0.0.1:9/new", "mine")
