"""Every event of an account in one order, read page by page: nothing is skipped, whoever is slow to commit."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import defaultdict
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.cursor import FeedPosition, feed_cursor
from safelight.db.statements import load
from safelight.domain.events import EventType
from safelight.domain.ids import JobId
from safelight.engine.image.journal import append_event
from tests.api import wire
from tests.api.conftest import Serve, submitted
from tests.api.problems import refusal
from tests.api.test_streams import append
from tests.api.test_waiting import somebody_waits
from tests.orders import until

NOTICE = (
    "INSERT INTO notices (at, type, provider, model, code, message, data, account)"
    " VALUES (safelight.now(), 'provider.paused', 'gemini', '', 'BILLING', 'No money', '{\"probe_at\": null}', $1)"
)


async def page(client: httpx2.AsyncClient, cursor: str | None = None, **params: Any) -> dict[str, Any]:
    response = await client.get("/v1/events", params={**params, **({"after": cursor} if cursor else {})})
    assert response.status_code == 200, response.text
    return response.json()


async def told(client: httpx2.AsyncClient, count: int, cursor: str | None = None, **params: Any) -> dict[str, Any]:
    """So many events, of as many pages as they take: other tests' transactions hold the feed back as well, on the same
    server. The service waits for what is still to come."""
    events: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while True:
            found = await page(client, cursor, **params, wait=10)
            events += found["events"]
            if len(events) >= count:
                return {**found, "events": events}
            cursor = found["next_cursor"]


def places(events: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(event["data"]["job_id"], event["data"]["seq"]) for event in events]


async def test_a_transaction_that_stays_open_holds_the_feed_back_and_nothing_is_skipped(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    early, late = [(await submitted(client))["id"] for _ in range(2)]
    begun = await told(client, 2)
    assert places(begun["events"]) == [(early, 1), (late, 1)]
    assert await page(client, begun["next_cursor"]) == {"events": [], "next_cursor": begun["next_cursor"]}

    async with pool.acquire() as conn, conn.transaction():
        await append_event(conn, JobId(early), EventType.JOB_STARTED)  # pyright: ignore[reportArgumentType]
        await append(pool, late)
        held_back = await page(client, begun["next_cursor"])
        assert held_back == {"events": [], "next_cursor": begun["next_cursor"]}
    rest = await told(client, 2, held_back["next_cursor"])

    assert places(rest["events"]) == [(early, 2), (late, 2)]
    assert rest["events"][0]["type"] == "job.started"


async def test_many_writers_and_a_reader_who_follows_close_behind(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    jobs = [(await submitted(client))["id"] for _ in range(4)]

    async def write(job_id: str) -> None:
        for count in (1, 3, 2, 5) * 4:
            async with pool.acquire() as conn, conn.transaction():
                for _ in range(count):
                    await append_event(conn, JobId(job_id), EventType.JOB_STARTED)  # pyright: ignore[reportArgumentType]

    async def read() -> list[dict[str, Any]]:
        events, cursor = [], None
        while len(events) < 45 * len(jobs):
            found = await page(client, cursor, limit=7)
            events += found["events"]
            cursor = found["next_cursor"]
        return events

    async with asyncio.timeout(60):
        reading = asyncio.create_task(read())
        await asyncio.gather(*map(write, jobs))
        by_job: defaultdict[str, list[int]] = defaultdict(list)
        for job_id, seq in places(await reading):
            by_job[job_id].append(seq)
    assert by_job == {job_id: list(range(1, 46)) for job_id in jobs}


async def test_notices_are_among_the_events(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    first = (await submitted(client))["id"]
    await pool.execute(NOTICE, None)
    await pool.execute(NOTICE, "somebody")
    await pool.execute(NOTICE, "default")
    last = (await submitted(client))["id"]
    events, cursor = [], None
    for _ in range(4):
        found = await told(client, 1, cursor, limit=1)
        events += found["events"]
        cursor = found["next_cursor"]

    assert (await page(client, cursor))["events"] == []
    assert [each["data"].get("job_id") for each in events] == [first, None, None, last]
    assert events[1]["type"] == "provider.paused"
    assert events[1]["data"] == {"provider": "gemini", "code": "BILLING", "message": "No money", "probe_at": None}


async def test_events_of_another_account_are_not_there(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await submitted(client)
    await told(client, 1)
    await pool.execute("UPDATE events SET account = 'somebody'")

    assert (await page(client))["events"] == []


async def test_a_cursor_is_good_for_its_account_and_unchanged(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    await submitted(client)
    good = (await page(client))["next_cursor"]
    raw = base64.urlsafe_b64decode(good + "=" * (-len(good) % 4))
    edited = base64.urlsafe_b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode().rstrip("=")
    of_jobs = (await client.get("/v1/jobs", params={"limit": 1})).json()["next_cursor"] or "A" * 40

    for bad in (good[:-1], good[:-4], good + "A", "A" + good, edited, of_jobs, "", "%", "é", "A" * 200):
        problem = refusal(await client.get("/v1/events", params={"after": bad}), 400, "invalid-cursor")
        assert "restored" not in problem["detail"]
    refusal(await client.get("/v1/events", params={"after": "A" * 201}), 422, "validation-error")


@pytest.mark.parametrize("change", [load("feed").raise_feed_epoch, None])
async def test_after_a_restore_a_reader_is_told_to_start_again(
    client: httpx2.AsyncClient, pool: asyncpg.Pool, change: str | None
):
    """Numbered anew; or an older copy under the same address, whose transactions have not come as far yet."""
    await submitted(client)
    if change is None:
        await pool.execute("UPDATE events SET xact = '1'")
    before = await page(client)
    if change is None:
        row = await pool.fetchrow(load("feed").numbering)
        assert row is not None
        position = FeedPosition(xact=10**12, job_id="", seq=1)
        cursor = feed_cursor(position, account="default", numbering=row["name"])
    else:
        cursor = before["next_cursor"]
        await pool.execute(change)

    problem = refusal(await client.get("/v1/events", params={"after": cursor}), 400, "invalid-cursor")
    assert "restored" in problem["detail"]
    assert len((await told(client, 1))["events"]) == 1


async def test_a_reader_may_wait_for_what_comes(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    job_id = (await submitted(client))["id"]
    cursor = (await told(client, 1))["next_cursor"]
    async with asyncio.timeout(50):
        waiting = asyncio.create_task(page(client, cursor, wait=60))
        await append(pool, job_id)
        assert places((await waiting)["events"]) == [(job_id, 2)]


async def test_readers_who_do_not_fit_are_answered_at_once(serve_with: Serve):
    async with serve_with(max_waiting=0) as client, asyncio.timeout(50):
        response = await client.get("/v1/events?wait=60")
    assert (response.json()["events"], response.headers["retry-after"]) == ([], "2")


async def test_no_reader_waits_for_a_service_that_stops(serve_with: Serve, pool: asyncpg.Pool):
    async with asyncio.timeout(50):
        async with serve_with() as client:
            waiting = asyncio.create_task(wire.exchange(client, wire.request("GET", "/v1/events?wait=60")))
            await somebody_waits(pool)
        response = await waiting

    assert (response.status_code, response.json()["events"]) == (200, [])


async def test_a_question_that_the_database_leaves_unanswered_is_soon_asked_again(
    client: httpx2.AsyncClient, pool: asyncpg.Pool
):
    """As while a table is altered."""
    is_held_up = (
        "EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND query LIKE '-- name: feeds_that_go_on%')"
    )
    begun = await page(client)

    async with asyncio.timeout(50):
        waiting = asyncio.create_task(page(client, begun["next_cursor"], wait=40))
        await somebody_waits(pool)
        async with pool.acquire() as conn, conn.transaction():
            await conn.execute("LOCK TABLE notices IN ACCESS EXCLUSIVE MODE")
            await until(pool, f"SELECT {is_held_up}")
            await until(pool, f"SELECT NOT {is_held_up}")
            await until(pool, f"SELECT {is_held_up}", seconds=4.5)
        await pool.execute(NOTICE, None)
        assert [event["type"] for event in (await waiting)["events"]] == ["provider.paused"]


async def test_hundreds_who_wait_ask_as_one(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    """And only the one for whom something has come is answered, also when it is a notice."""
    readers, commits = 300, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"

    async def wait(number: int) -> list[str]:
        raw = wire.request("GET", f"/v1/events?wait=60&account=reader-{number}")
        return [each["type"] for each in (await wire.exchange(client, raw)).json()["events"]]

    async with asyncio.timeout(60):
        waiting = [asyncio.create_task(wait(number)) for number in range(readers)]
        while f"safelight_requests_waiting {readers}.0" not in (await client.get("/metrics")).text:
            pass
        began, asked = time.monotonic(), await pool.fetchval(commits)
        while time.monotonic() < began + 4:
            await client.get("/healthz")
            await asyncio.sleep(0.1)  # these seconds are what is looked at; nothing is waited for
        asked_each_second = (await pool.fetchval(commits) - asked) / (time.monotonic() - began)
        await submitted(client, account="reader-7")
        assert await waiting[7] == ["job.created"]
        await pool.execute(NOTICE, "reader-8")
        assert await waiting[8] == ["provider.paused"]
        assert not any(each.done() for number, each in enumerate(waiting) if number not in (7, 8))
        await pool.execute(NOTICE, None)
        others = [each for number, each in enumerate(waiting) if number not in (7, 8)]
        assert set(map(tuple, await asyncio.gather(*others))) == {("provider.paused",)}
    assert asked_each_second < 80, "hub's own questions among them"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("news", ["99000", ["5", "7"], 1000]),
        ("events_of_account", ["default", "50000", "job_x", 3, 100]),
        ("feeds_that_go_on", [["default", "other"], ["50000", "0"], ["job_x", ""], ["3", "0"], 50]),
    ],
)
async def test_questions_to_a_long_log_walk_an_index(
    pool: asyncpg.Pool, client: httpx2.AsyncClient, name: str, arguments: list[Any]
):
    """As the server plans them for any values, which is what it does after a few of them."""
    job_id = (await submitted(client))["id"]
    await pool.execute(
        "INSERT INTO events (job_id, seq, account, type, data, created_at, xact)"
        " SELECT $1, n, 'default', 'x', '{}', now(), n::text::xid8 FROM generate_series(2, 100000) AS n",
        job_id,
    )
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("ANALYZE events")
        await conn.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        types = {
            "news": "xid8, text[], bigint",
            "events_of_account": "text, xid8, text, bigint, bigint",
            "feeds_that_go_on": "text[], text[], text[], bigint[], bigint",
        }[name]
        await conn.execute(f"PREPARE asked ({types}) AS {load('feed')[name]}")
        values = ", ".join(
            f"'{{{','.join(map(json.dumps, each))}}}'" if isinstance(each, list) else f"'{each}'" for each in arguments
        )
        plan = "\n".join(row[0] for row in await conn.fetch(f"EXPLAIN EXECUTE asked({values})"))

    assert "Seq Scan on events" not in plan, plan
    walked = [line for line in plan.splitlines() if " on events" in line]
    assert len(walked) == (2 if name == "news" else 1), plan
    assert all("Index Scan using events_" in line or "Index Only Scan using events_" in line for line in walked), plan
    jobs = 0 if name == "feeds_that_go_on" else len(walked)
    conditions = [line for line in plan.splitlines() if "Index Cond" in line and "(at >" not in line]
    assert len(conditions) == len(walked) + jobs, "for the events, and for the job of each that shows a picture"


async def test_a_cursor_that_was_forged_is_refused(client: httpx2.AsyncClient, pool: asyncpg.Pool):
    """Its digest is no secret."""
    numbering = await pool.fetchval("SELECT name FROM (" + load("feed").numbering + ") AS n")
    for job_id, seq in (("", 2**63), ("job\0", 1)):
        position = FeedPosition(xact=1, job_id=job_id, seq=seq)
        forged = feed_cursor(position, account="default", numbering=numbering)
        refusal(await client.get("/v1/events", params={"after": forged}), 400, "invalid-cursor")
