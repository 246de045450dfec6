"""A job's events as a stream: each once and in order, from wherever a client comes back."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import asyncpg
import httpx2
import pytest
from structlog.testing import capture_logs

from safelight.api.app import ApiDependencies
from safelight.api.following import stream as api_stream
from safelight.delivery import hub as delivery_hub
from safelight.domain.events import EventType, job_ended
from safelight.domain.ids import JobId
from safelight.domain.lifecycle import JobStatus
from safelight.engine.image.journal import Happened, append_event, append_events
from tests.api import wire
from tests.api.conftest import Serve, serving, submitted
from tests.api.doors import admin_key, as_caller, key_for
from tests.api.problems import refusal
from tests.orders import until
from tests.sse import Told, stream

IS_ASKED = (
    "SELECT EXISTS (SELECT FROM pg_stat_activity"
    " WHERE datname = current_database() AND query LIKE '-- name: news%' AND pid <> $1)"
)


async def append(pool: asyncpg.Pool, job_id: str, count: int = 1) -> None:
    """So many events, in one transaction."""
    async with pool.acquire() as conn:
        await append_on(conn, job_id, count)


async def append_on(conn: Any, job_id: str, count: int) -> None:
    async with conn.transaction():
        event = Happened(EventType.IMAGE_STARTED, image_id="one", data={"attempt": 1})
        await append_events(conn, JobId(job_id), [event] * count)


async def end(pool: asyncpg.Pool, job_id: str, status: JobStatus = JobStatus.COMPLETED) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("UPDATE jobs SET status = $2 WHERE id = $1", job_id, status)
        await append_event(conn, JobId(job_id), job_ended(status))  # pyright: ignore[reportArgumentType]


async def retry(pool: asyncpg.Pool, job_id: str) -> None:
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("UPDATE jobs SET status = 'generating', run = run + 1 WHERE id = $1", job_id)
        await append_event(conn, JobId(job_id), EventType.JOB_RETRIED)  # pyright: ignore[reportArgumentType]


def seqs(told: list[Told]) -> list[int | None]:
    assert all(each.data["data"]["seq"] == each.id for each in told)
    return [each.id for each in told]


async def test_a_stream_shows_the_job_then_what_follows_and_ends_with_it(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    accepted = await submitted(client)
    async with asyncio.timeout(50), stream(client, accepted["id"]) as following:
        headers = following.response.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-store", "no")
        [snapshot] = await following.take(1)
        assert (snapshot.type, snapshot.id, snapshot.data) == ("snapshot", 1, accepted)

        await append(pool, accepted["id"])
        [second] = await following.take(1)
        assert (second.type, second.id) == ("image.started", 2)
        assert second.data["data"] | {"job_url": ""} == {
            "job_id": accepted["id"], "seq": 2, "image_id": "one", "attempt": 1, "job_url": "",
        }  # fmt: skip
        await end(pool, accepted["id"])
        assert [(each.type, each.id) for each in await following.rest()] == [("job.completed", 3)]

        assert (await client.get(accepted["urls"]["events"], headers={"Last-Event-ID": "3"})).status_code == 204
    async with stream(client, accepted["id"]) as again:
        assert [(each.type, each.id) for each in await again.rest()] == [("snapshot", 3)]


async def test_whoever_comes_back_is_told_every_later_event_once(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job_id = (await submitted(client))["id"]
    await append(pool, job_id, 9)
    async with asyncio.timeout(50):
        async with stream(client, job_id, last_event_id=4, after=8) as following:
            assert seqs(await following.take(6)) == [5, 6, 7, 8, 9, 10]
            await append(pool, job_id, 2)
            assert seqs(await following.take(2)) == [11, 12]
        async with stream(client, job_id, after=10) as following:
            await end(pool, job_id, JobStatus.PARTIAL)
            assert seqs(await following.rest()) == [11, 12, 13]


async def test_a_stream_goes_on_past_the_end_of_an_earlier_run(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job_id = (await submitted(client))["id"]
    await end(pool, job_id, JobStatus.FAILED)
    await retry(pool, job_id)
    async with asyncio.timeout(50):
        async with stream(client, job_id, after=0) as following:
            assert [each.type for each in await following.take(3)] == ["job.created", "job.failed", "job.retried"]
            await end(pool, job_id)
            assert [each.type for each in await following.rest()] == ["job.completed"]
        await append(pool, job_id)  # a late picture, say: the log goes on, the run does not
        async with stream(client, job_id, after=2) as following:
            assert seqs(await following.rest()) == [3, 4, 5]


async def test_an_id_that_cannot_be_gone_on_from_resets_the_stream(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job_id = (await submitted(client))["id"]
    await append(pool, job_id, 2)
    await pool.execute("DELETE FROM events WHERE seq <= 2")
    invalid = [(bad, "invalid") for bad in ("x", "-1", "3, 3", "9" * 30)]
    async with asyncio.timeout(50), AsyncExitStack() as streams:
        all_of_them = []
        for last_event_id, reason in [*invalid, (4, "unknown"), (1, "expired")]:
            following = await streams.enter_async_context(stream(client, job_id, last_event_id=last_event_id))
            reset, snapshot = await following.take(2)
            assert (following.response.status_code, reset.type, reset.data["reason"]) == (200, "reset", reason)
            assert (snapshot.type, snapshot.id, snapshot.data["id"], reset.id) == ("snapshot", 3, job_id, None)
            all_of_them.append(following)
        await end(pool, job_id)
        for following in all_of_them:
            assert seqs(await following.rest()) == [4]


async def test_a_stream_whose_next_events_are_not_kept_any_more_ends_and_is_reset(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    """Once the log has been cut, nobody is told a part of it as if it were all."""
    job_id = (await submitted(client))["id"]
    await end(pool, job_id)
    await pool.execute("DELETE FROM events")

    async with stream(client, job_id, last_event_id=1) as following:
        assert [each.type for each in await following.rest()] == ["reset", "snapshot"]
    assert (await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "2"})).status_code == 204


async def test_no_event_is_missing_or_twice_however_fast_they_come(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    """More than a page (100), a queue (256) or a question (1000) holds, and nothing afterwards that would tell of it;
    while some only begin to read, and one transaction stays open."""
    together, alone = [(await submitted(client))["id"] for _ in range(6)], (await submitted(client))["id"]
    told: dict[tuple[str, int], asyncio.Task[list[int | None]]] = {}

    async def end_with(count: int, *jobs: str) -> None:
        async with pool.acquire() as conn, conn.transaction():
            for job_id in jobs:
                await append_on(conn, job_id, count)
                await conn.execute("UPDATE jobs SET status = 'completed' WHERE id = $1", job_id)
                done = [Happened(EventType.JOB_COMPLETED)]
                await append_events(conn, JobId(job_id), done)  # pyright: ignore[reportArgumentType]

    async def read(job_id: str, begin: int) -> list[int | None]:
        await until(pool, "SELECT seq >= $2 FROM jobs WHERE id = $1", job_id, begin)
        async with stream(client, job_id, after=begin) as following:
            return seqs(await following.rest())

    async with asyncio.timeout(60), pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT pg_current_xact_id()")
        for last, jobs in ((200, together), (300, [alone])):
            async with asyncio.TaskGroup() as group:
                for job_id in jobs:
                    told |= {(job_id, begin): group.create_task(read(job_id, begin)) for begin in (0, 3, 37, last)}
                for job_id in jobs:
                    for size in range(1, 9):
                        await append(pool, job_id, size)
                await end_with(last, *jobs)
    for (job_id, begin), reading in told.items():
        assert reading.result() == list(range(begin + 1, 1 + 36 + (300 if job_id == alone else 200) + 2))


async def test_an_event_is_told_although_an_older_transaction_is_open_and_that_one_later(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    early, late = [(await submitted(client))["id"] for _ in range(2)]
    async with asyncio.timeout(50), stream(client, early) as of_early, stream(client, late) as of_late:
        await of_early.take(1)
        await of_late.take(1)
        async with pool.acquire() as conn, conn.transaction():
            await append_event(conn, JobId(early), EventType.JOB_STARTED)  # pyright: ignore[reportArgumentType]
            for _ in range(3):
                await append(pool, late)
            assert seqs(await of_late.take(3)) == [2, 3, 4]
        assert seqs(await of_early.take(1)) == [2]


async def test_a_lost_database_only_delays_what_is_told(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job_id = (await submitted(client))["id"]
    async with asyncio.timeout(50), stream(client, job_id) as following:
        await following.take(1)
        async with pool.acquire() as conn:
            await conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await append_on(conn, job_id, 3)
        assert seqs(await following.take(3)) == [2, 3, 4]


async def test_progress_is_told_without_an_id_and_at_last_as_it_is(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job_id = (await submitted(client))["id"]
    async with asyncio.timeout(50), stream(client, job_id) as one, stream(client, job_id) as other:
        await one.take(1)
        await other.take(1)
        for _ in range(10):
            await append(pool, job_id)
        await pool.execute("UPDATE images SET status = 'failed'")
        await append(pool, job_id)

        async def last_progress(following: Any) -> Told:
            while True:
                told = await following.next(progress=True)
                if told.type == "job.progress" and told.data["data"]["progress"] == 100:
                    return told

        told = await last_progress(one)
        assert told == await last_progress(other), "it is worked out once for both"
        assert told.id is None
        assert told.data["data"] == {
            "job_id": job_id,
            "status": "pending",
            "progress": 100,
            "current_step": "Waiting to start",
            "counts": {
                "total": 1, "queued": 0, "active": 0, "completed": 0,
                "failed": 1, "refused": 0, "canceled": 0, "uncertain": 0,
            },
        }  # fmt: skip


async def test_a_silent_stream_is_kept_alive(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api_stream, "_KEEP_ALIVE_SECONDS", 0.02)
    job_id = (await submitted(client))["id"]
    async with asyncio.timeout(50), stream(client, job_id) as following:
        reading = asyncio.create_task(following.rest())
        while following.comments < 3:
            await client.get("/healthz")
        await end(pool, job_id)
        await reading


async def test_streams_beyond_the_limit_are_refused_until_one_ends(serve_with: Serve, pool: asyncpg.Pool):
    async with serve_with(max_streams=1) as client, asyncio.timeout(50):
        accepted = await submitted(client)
        async with stream(client, accepted["id"]) as following:
            await following.take(1)
            for address in (accepted["urls"]["events"], f"{accepted['urls']['events']}?after=0"):
                response = await client.get(address)
                refusal(response, 429, "too-many-streams")
                assert int(response.headers["retry-after"]) >= 1
            page = await client.get(accepted["urls"]["events"], headers={"Accept": "application/json"})
            assert page.json()["next_after"] == 1
        while True:  # the server learns of it a moment later
            async with stream(client, accepted["id"], after=0) as following:
                if following.response.status_code == 200:
                    assert seqs(await following.take(1)) == [1]
                    break


async def test_a_client_that_does_not_read_is_dropped_and_no_other(
    deps: ApiDependencies, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
):
    """Its socket takes nothing: what waits for it is bounded, and in the end it loses its place."""
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT", raising=False)  # not every system has it
    small = replace(deps, max_streams=2)
    async with serving(small, stall_seconds=0.3, send_buffer_bytes=4096) as client, asyncio.timeout(90):
        accepted = await submitted(client)
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect((client.base_url.host, client.base_url.port))
            deaf.sendall(wire.request("GET", f"/v1/jobs/{accepted['id']}/events?after=0"))
            async with stream(client, accepted["id"], after=0) as following:
                told = await following.take(1)
                address = f"{accepted['urls']['events']}?after=1"
                while (await client.send(client.build_request("GET", address), stream=True)).status_code == 429:
                    await append(pool, accepted["id"], 100)
                    told += await following.take(100)
                await end(pool, accepted["id"])
                told += await following.rest()
        assert seqs(told) == list(range(1, len(told) + 1))


async def test_a_key_that_is_revoked_is_told_nothing_more(
    serve_with: Serve, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(api_stream, "_KEEP_ALIVE_SECONDS", 0.05)
    key, key_id = await key_for(pool, "default")
    admin = await admin_key(pool)
    async with (
        asyncio.timeout(50),
        serve_with(may_run_open=False) as client,
        as_caller(client, key) as holder,
        as_caller(client, admin) as other,
    ):
        job_id = (await submitted(holder))["id"]
        async with stream(holder, job_id, after=0) as told, stream(holder, job_id, after=1) as silent:
            async with stream(other, job_id, after=1) as others:
                await told.take(1)
                waiting = [
                    asyncio.create_task(holder.get(address))
                    for address in (f"/v1/jobs/{job_id}?wait=60&after=1", f"/v1/jobs/{job_id}?wait=60")
                ]
                while "safelight_requests_waiting 2.0" not in (await client.get("/metrics")).text:
                    pass
                assert (await other.delete(f"/v1/keys/{key_id}")).status_code == 204
                assert await silent.rest() == [], "nor is its line kept open"
                await append(pool, job_id)
                await end(pool, job_id)
                assert seqs(await others.rest()) == [2, 3]
            assert await told.rest() == []
            for answer in await asyncio.gather(*waiting):
                refusal(answer, 401, "unauthenticated")


async def test_with_the_first_key_nobody_is_told_anything_more(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job_id = (await submitted(client))["id"]
    async with asyncio.timeout(50), stream(client, job_id) as told:
        await told.take(1)
        assert (await client.post("/v1/keys", json={})).status_code == 201
        await append(pool, job_id)
        assert await told.rest() == []


async def test_streams_end_at_once_with_the_service(serve_with: Serve, pool: asyncpg.Pool):
    async with asyncio.timeout(50):
        async with serve_with() as client:
            job_id = (await submitted(client))["id"]
            reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
            writer.write(wire.request("GET", f"/v1/jobs/{job_id}/events"))
            await reader.readuntil(b"snapshot")
        rest = await reader.read()
        writer.close()
    assert rest.endswith(b"\r\n0\r\n\r\n"), "a whole answer, not one that breaks off"


async def test_nothing_is_asked_while_nobody_follows(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job_id = (await submitted(client))["id"]
    async with asyncio.timeout(50):
        async with stream(client, job_id) as following:
            await following.take(1)
            await until(pool, IS_ASKED, 0)
        while [task for task in asyncio.all_tasks() if "EventHub." in str(task.get_coro())]:
            await client.get("/healthz")


async def test_a_page_is_for_those_who_accept_json(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    accepted = await submitted(client)
    await end(pool, accepted["id"])
    for accept, is_page in {
        "application/json": True,
        "application/json, text/plain, */*": True,
        "text/event-stream;q=0.5, application/json": True,
        "application/json;q=0": False,
        "application/json;q=x, */*": False,
        "application/json, text/event-stream": False,
        "text/event-stream": False,
        "*/*": False,
    }.items():
        response = await client.get(accepted["urls"]["events"], headers={"Accept": accept})
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type == ("application/json" if is_page else "text/event-stream"), accept


async def test_a_stream_takes_no_limit(client: httpx2.AsyncClient):
    accepted = await submitted(client)
    problem = refusal(await client.get(f"{accepted['urls']['events']}?limit=3"), 422, "validation-error")
    assert [each["parameter"] for each in problem["errors"]] == ["limit"]


async def test_a_database_that_counts_otherwise_ends_every_stream(pool: asyncpg.Pool):
    """A copy of the database from before, under the same address: whoever comes back begins there."""
    hub = delivery_hub.EventHub(pool, encode=lambda _: b"", closing=asyncio.Event(), acquire_seconds=5.0)
    async with asyncio.timeout(50):
        with capture_logs() as logs, hub.follow("job_none", after=0) as following:
            ended = asyncio.create_task(following.next())
            await until(pool, IS_ASKED, 0)
            while not ended.done():  # a question that is under way puts what it has seen in its place
                hub._seen = delivery_hub._Moment(10**15, [])
                await asyncio.wait({ended}, timeout=0.2)
            assert ended.result() == ()
    assert "begin again" in str(logs)
