"""Answers that are held back until there is something to say."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import httpx2
import pytest
from starlette.requests import Request

from safelight.api.app import ApiDependencies, create_app
from safelight.api.edge.closing import closing_of
from safelight.api.following.waiting import preferred_wait
from safelight.domain.events import EventType, job_ended
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import JobStatus
from safelight.engine.image.journal import append_event
from tests.api import wire
from tests.api.bad_request import JSON
from tests.api.conftest import Serve, job, submitted
from tests.api.problems import refusal
from tests.orders import until

WAITS = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity"
    " WHERE datname = current_database() AND query LIKE '-- name: news%' AND pid <> $1)"
)


async def somebody_waits(pool: asyncpg.Pool) -> None:
    await until(pool, WAITS, 0)


async def end(pool: asyncpg.Pool, job_id: str, status: JobStatus = JobStatus.COMPLETED) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("UPDATE jobs SET status = $2 WHERE id = $1", job_id, status)
        await append_event(conn, JobId(job_id), job_ended(status))  # pyright: ignore[reportArgumentType]


async def test_a_job_that_has_ended_is_not_waited_for(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    address = (await submitted(client))["urls"]["self"]
    await pool.execute("UPDATE jobs SET status = 'partial'")

    async with asyncio.timeout(25):
        response = await client.get(f"{address}?wait=60")

    assert (response.status_code, response.json()["status"]) == (200, "partial")


async def test_a_wait_ends_when_the_job_does(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client)

    async with asyncio.timeout(25):
        waiting = asyncio.create_task(client.get(f"{accepted['urls']['self']}?wait=60"))
        await somebody_waits(pool)
        assert not waiting.done()
        await end(pool, accepted["id"])
        response = await waiting

    assert (response.status_code, response.json()["status"]) == (200, "completed")


async def test_a_wait_that_is_over_shows_the_job_as_it_stands(client: httpx2.AsyncClient):
    address = (await submitted(client))["urls"]["self"]

    response = await client.get(f"{address}?wait=1")

    assert (response.status_code, response.json()["status"]) == (200, "pending")
    assert "retry-after" not in response.headers


async def test_a_wait_for_what_comes_after_ends_with_the_next_event(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client)
    address, seq = accepted["urls"]["self"], accepted["seq"]
    assert seq == 1

    async with asyncio.timeout(25):
        passed = await client.get(f"{address}?wait=60&after=0")
        waiting = asyncio.create_task(client.get(f"{address}?wait=60&after={seq}"))
        await somebody_waits(pool)
        assert not waiting.done()
        async with pool.acquire() as conn, conn.transaction():
            await append_event(conn, JobId(accepted["id"]), EventType.JOB_STARTED)  # pyright: ignore[reportArgumentType]
        moved = await waiting

    assert (passed.json()["seq"], moved.json()["seq"]) == (1, 2)


async def test_a_submit_that_prefers_to_wait_is_answered_with_the_end(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    async with asyncio.timeout(25):
        waiting = asyncio.create_task(client.post("/v1/jobs", json=job(), headers={"Prefer": "wait=30"}))
        job_id = await until(pool, "SELECT id FROM jobs")
        await somebody_waits(pool)
        await end(pool, job_id)
        response = await waiting

    assert (response.status_code, response.json()["status"]) == (200, "completed")
    assert response.headers["preference-applied"] == "wait=30"
    assert response.headers["location"] == response.json()["urls"]["self"]
    assert "retry-after" not in response.headers


async def test_a_submit_whose_wait_is_over_is_accepted_all_the_same(client: httpx2.AsyncClient):
    response = await client.post("/v1/jobs", json=job(), headers={"Prefer": "wait=1"})

    assert (response.status_code, response.json()["status"]) == (202, "pending")
    assert response.headers["preference-applied"] == "wait=1"
    assert response.headers["retry-after"] == "2"


async def test_a_submit_whose_job_cannot_be_read_after_the_wait_is_accepted_all_the_same(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    """Told that the service is unavailable, a caller without a key would order the same once more."""
    async with asyncio.timeout(25), pool.acquire() as other:
        waiting = asyncio.create_task(client.post("/v1/jobs", json=job(), headers={"Prefer": "wait=2"}))
        job_id = await until(pool, "SELECT id FROM jobs")
        await somebody_waits(pool)
        async with other.transaction():
            await other.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            response = await waiting

    assert (response.status_code, response.json()["id"], response.json()["status"]) == (202, job_id, "pending")
    assert response.headers["retry-after"] == "2"
    assert "preference-applied" not in response.headers


async def test_a_replay_that_prefers_to_wait_is_told_the_end_of_its_job(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    headers = {"Idempotency-Key": "mine", "Prefer": "wait=30"}
    first = await client.post("/v1/jobs", json=job(), headers={"Idempotency-Key": "mine"})
    await end(pool, first.json()["id"], JobStatus.FAILED)

    again = await client.post("/v1/jobs", json=job(), headers=headers)

    assert (again.status_code, again.json()["status"]) == (200, "failed")
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (["wait=20"], 20),
        (["respond-async, wait=20"], 20),
        (["respond-async", "Wait = 7; foo=bar"], 7),
        (['wait="15"'], 15),
        (["wait=100"], 60),
        (["wait=5, wait=9"], 5),
        (["wait=0"], 0),
        (["wait"], None),
        (["wait=-1"], None),
        (["wait=x, wait=9999999999"], None),
        (["await=5"], None),
        ([], None),
    ],
)
def test_a_preference_is_read_as_its_standard_says(sent: list[str], seconds: int | None):
    headers = [(b"prefer", each.encode()) for each in sent]
    assert preferred_wait(Request({"type": "http", "headers": headers})) == seconds


async def test_those_who_do_not_fit_are_answered_at_once(serve_with: Serve, pool: asyncpg.Pool):
    async with serve_with(max_waiting=1) as client, asyncio.timeout(50):
        accepted = await submitted(client)
        address = f"{accepted['urls']['self']}?wait=60"
        first = asyncio.create_task(client.get(address))
        await somebody_waits(pool)

        second = await client.get(address)
        third = await client.post("/v1/jobs", json=job(), headers={"Prefer": "wait=60"})

        assert not first.done()
        assert (second.status_code, second.json()["status"], second.headers["retry-after"]) == (200, "pending", "2")
        assert (third.status_code, third.headers.get("preference-applied")) == (202, None)
        await end(pool, accepted["id"])
        await first


async def test_a_caller_who_has_gone_does_not_keep_a_place(serve_with: Serve, pool: asyncpg.Pool):
    async with serve_with(max_waiting=1) as client, asyncio.timeout(50):
        accepted = await submitted(client)
        target = f"/v1/jobs/{accepted['id']}?wait=60"
        async with wire.connection(client) as (_, writer):
            writer.write(wire.request("GET", target))
            await somebody_waits(pool)

        while "retry-after" in (await client.get(f"{target[:-2]}1")).headers:
            pass  # the server learns of it a moment later


async def test_a_wait_outlives_the_loss_of_every_connection(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client)

    async with asyncio.timeout(50):
        waiting = asyncio.create_task(client.get(f"{accepted['urls']['self']}?wait=60"))
        await somebody_waits(pool)
        await pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await end(pool, accepted["id"])
        response = await waiting

    assert response.json()["status"] == "completed"


async def test_hundreds_wait_with_one_question_at_a_time(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    jobs = [await submitted(client) for _ in range(3)]

    async def wait(number: int) -> Any:
        raw = wire.request("GET", f"/v1/jobs/{jobs[number % 3]['id']}?wait=60")
        return (await wire.exchange(client, raw)).json()["status"]

    async with asyncio.timeout(50):
        waiting = [asyncio.create_task(wait(number)) for number in range(300)]
        await somebody_waits(pool)
        asking = await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '-- name: news%'"
        )
        for each in jobs:
            await end(pool, each["id"])
        assert set(await asyncio.gather(*waiting)) == {"completed"}
    assert asking <= 2


async def test_nobody_waits_for_a_service_that_stops(serve_with: Serve, pool: asyncpg.Pool):
    async with asyncio.timeout(50):
        async with serve_with() as client:
            accepted = await submitted(client)
            raw = wire.request("GET", f"/v1/jobs/{accepted['id']}?wait=60")
            waiting = asyncio.create_task(wire.exchange(client, raw))
            await somebody_waits(pool)
        response = await waiting

    assert (response.status_code, response.json()["status"]) == (200, "pending")


async def test_a_request_that_the_stop_cuts_off_is_unavailable(serve_with: Serve, pool: asyncpg.Pool):
    body = json.dumps(job()).encode()
    raw = wire.request("POST", "/v1/jobs", JSON, body)
    async with asyncio.timeout(50):
        async with serve_with() as client:
            reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
            writer.write(raw[:-1])
            await client.get("/healthz")
        response = await wire.answer_of(reader)
        assert await reader.read() == b""
        writer.close()

    refusal(response, 503, "unavailable")
    assert response.headers["retry-after"] == "2"
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 0


async def test_a_request_that_comes_during_the_stop_is_unavailable(deps: ApiDependencies, pool: asyncpg.Pool):
    app = create_app(deps)
    closing_of(app).set()
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        response = await client.post("/v1/jobs", json=job())

    refusal(response, 503, "unavailable")
    assert (response.headers["retry-after"], response.headers["connection"]) == ("2", "close")
    assert await pool.fetchval("SELECT count(*) FROM jobs") == 0
