"""Whose turn it is: how many lanes of an endpoint are under way at once, and what a look for them takes."""

from __future__ import annotations

import asyncio
from collections import Counter

import asyncpg

from safelight.db.statements import load
from safelight.domain.events import EventType
from tests.delivery.receiver import Message, Receiver, status
from tests.delivery.stage import (
    claim,
    courier,
    deliveries,
    endpoint,
    failed,
    job,
    nothing_waits,
)
from tests.engine.by_hand import pass_time

STARTED, DONE = EventType.JOB_STARTED, EventType.JOB_COMPLETED
_SQL = load("courier")


async def test_at_one_endpoint_only_so_many_are_under_way_over_all_processes(pool: asyncpg.Pool, receiver: Receiver):
    await endpoint(pool, receiver.url(), "job.created")
    as_many_are_open = asyncio.Event()
    under_way = most = 0

    async def answer(message: Message, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if most >= 16:
            as_many_are_open.set()
        async with asyncio.timeout(20):
            await as_many_are_open.wait()
        under_way -= 1  # before the courier can know that it has its answer
        await status(204)(message, writer)

    receiver.answer = answer
    for _ in range(40):
        await job(pool)
    async with courier(pool), courier(pool):
        await nothing_waits(pool)

    assert len(receiver.messages) == 40
    assert most == 16


async def test_one_endpoint_takes_no_more_than_half_of_a_process(pool: asyncpg.Pool):
    """Of sixteen slots. What others need of the rest they have at once, in turns."""
    busy, _ = await endpoint(pool, "https://busy.example/", "job.created")
    for _ in range(20):
        await job(pool)
    first = await claim(pool, 16, per_site=16, free_of_half=8)
    others = {(await endpoint(pool, f"https://{name}.example/", "job.created"))[0] for name in ("a", "b", "c")}
    for _ in range(5):
        await job(pool)
    second = await claim(pool, 8, per_site=16, free_of_half=0)

    assert Counter(row["endpoint_id"] for row in first) == {busy: 8}
    assert {row["endpoint_id"] for row in second} == others
    assert len(second) == 8


async def test_jobs_own_addresses_on_one_host_share_what_may_be_under_way(pool: asyncpg.Pool):
    for number in range(6):
        await job(pool, url=f"http://receiver.example:9000/{number}")
    await job(pool, url="http://RECEIVER.example:9001/7")

    taken = await claim(pool, 100)

    sites = await pool.fetch("SELECT site FROM webhook_lanes WHERE claim_token IS NOT NULL")
    assert Counter(row["site"] for row in sites) == {
        "default http://receiver.example:9000": 4,
        "default http://receiver.example:9001": 1,
    }
    assert len(taken) == 5


async def test_an_endpoint_that_takes_nothing_has_one_lane_under_way(pool: asyncpg.Pool):
    hangs, _ = await endpoint(pool, "https://hangs.example/", "job.created")
    works, _ = await endpoint(pool, "https://works.example/", "job.created")
    for _ in range(6):
        await job(pool)
    await pool.execute(
        "UPDATE webhook_endpoints SET failing_since = safelight.now() - interval '61 s' WHERE id = $1", hangs
    )

    first, second = [await claim(pool, 100) for _ in range(2)]

    assert Counter(row["endpoint_id"] for row in first) == {hangs: 1, works: 4}
    assert second == []


async def test_one_jobs_dead_address_does_not_slow_down_the_others_on_its_host(pool: asyncpg.Pool, receiver: Receiver):
    """It has been given up, or is tried again now and then; the host takes what it is sent."""

    async def answer(message: Message, writer: asyncio.StreamWriter) -> None:
        await status(404 if message.path == "/gone" else 204)(message, writer)

    receiver.answer = answer
    async with courier(pool):
        gone = await job(pool, url=receiver.url("/gone"), events=["job.created"])
        for attempts in (1, 2, 3):
            await failed(pool, attempts)
            await pass_time(pool, 121)
        await nothing_waits(pool)
        assert [row["status"] for row in await deliveries(pool, job_id=gone)] == ["dead"]
        await job(pool, url=receiver.url("/well"), events=["job.created"])
        await nothing_waits(pool)
    await pass_time(pool, 61)
    for _ in range(6):
        await job(pool, url=receiver.url("/well"), events=["job.created"])

    assert len(await claim(pool, 100)) == 4


async def test_slots_go_to_endpoints_in_turns(pool: asyncpg.Pool):
    busy, _ = await endpoint(pool, "https://busy.example/", "job.created")
    for _ in range(8):
        await job(pool)
    late, _ = await endpoint(pool, "https://late.example/", "job.created")
    await job(pool)

    taken = [row["endpoint_id"] for row in await claim(pool, 2)]

    assert sorted(taken) == sorted([busy, late])


async def test_only_what_is_taken_is_locked(pool: asyncpg.Pool):
    """A look that has little room would else write to the rows of every endpoint for which something waits."""
    for name in ("a", "b", "c"):
        await endpoint(pool, f"https://{name}.example/", "job.created")
    for _ in range(20):
        await job(pool)
    free = "SELECT row_number() OVER () FROM (SELECT FROM webhook_lanes FOR NO KEY UPDATE SKIP LOCKED) AS each"
    async with pool.acquire() as conn, conn.transaction():
        taken = await conn.fetch(_SQL.claim_lanes, 2, 16, 10.0, 60.0, 4, 2, 2)
        left = await pool.fetch(free)
    assert (len(taken), len(left)) == (2, 58)


async def test_looking_for_lanes_reads_no_table_from_end_to_end(pool: asyncpg.Pool):
    await pool.execute(
        "INSERT INTO webhook_lanes (endpoint_id, lane, site, next_at)"
        " SELECT 'whe_' || n % 20, 'job_' || n, 'whe_' || n % 20,"
        "        CASE WHEN n % 10 = 0 THEN safelight.now() + interval '1 hour' END FROM generate_series(1, 20000) AS n"
    )
    await pool.execute("ANALYZE webhook_lanes")
    plan = "\n".join(row[0] for row in await pool.fetch(f"EXPLAIN {_SQL.claim_lanes}", 10, 16, 10.0, 60.0, 4, 10, 10))
    assert "Seq Scan on webhook_lanes" not in plan, plan
