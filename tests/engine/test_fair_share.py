"""Places are shared between accounts by weight, and no account has more made at once than it may."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import replace

import asyncpg
import pytest

from safelight.domain.order import Priority
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import Where, admit
from safelight.engine.upkeep.stuck import Bounds, suspects
from safelight.settings import Settings
from tests.engine.by_hand import pass_time, swept
from tests.engine.test_claim import register
from tests.engine.test_long_backlog import fill
from tests.orders import image, order

ANY_LEASE = 1e9


async def account(
    pool: asyncpg.Pool, name: str, *, images: int = 0, model: str = "placeholder-1", priority: int = 1, **owed: int
) -> None:
    """An account, what it is owed, and what waits for it."""
    await pool.execute(
        "INSERT INTO accounts (id, weight, max_concurrency) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        name,
        owed.get("weight", 1),
        owed.get("max_concurrency"),
    )
    for n in range(0, images, 500):
        placed = order(*(image(f"{name}-{n + each}", model=model) for each in range(min(500, images - n))))
        await submit(pool, replace(placed, account=name, priority=Priority(priority)), run_limit_seconds=1e9)


async def hand_out(queue: asyncpg.Pool, *, places: int, times: int = 1, where: Where | None = None) -> int:
    """How many images so many admissions at once hand out."""
    return sum(
        await asyncio.gather(
            *(
                admit(
                    queue,
                    max_concurrency={"placeholder": places},
                    lease_seconds=ANY_LEASE,
                    where=where,
                    max_accounts=8 if where is not None else 64,
                )
                for _ in range(times)
            )
        )
    )


async def running(pool: asyncpg.Pool) -> Counter[str]:
    rows = await pool.fetch("SELECT account FROM images WHERE admitted_at IS NOT NULL")
    return Counter(row["account"] for row in rows)


async def end(pool: asyncpg.Pool, *, images: int = 1, chance: float = 0.5) -> None:
    """So many of those that run have their picture, any of them."""
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT setseed($1)", chance)
        await conn.execute(
            "UPDATE images SET status = 'completed', admitted_at = NULL WHERE row_id IN"
            " (SELECT row_id FROM images WHERE admitted_at IS NOT NULL ORDER BY random(), row_id LIMIT $1)",
            images,
        )


async def begun(pool: asyncpg.Pool, name: str) -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM images WHERE account = $1 AND generation > 0", name)
    return count


async def test_accounts_that_wait_have_places_by_their_weights(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool, slots=100)
    await account(pool, "one", images=100)
    await account(pool, "three", images=100, weight=3)
    chance = random.Random(4)
    for _ in range(30):
        await hand_out(queue, places=8)
        assert await running(pool) == {"one": 2, "three": 6}
        await end(pool, images=chance.randint(1, 3), chance=chance.random())
    assert abs(await begun(pool, "three") / await begun(pool, "one") - 3) < 0.6


async def test_a_flood_of_ten_thousand_urgent_images_keeps_nobody_waiting_for_more_than_a_place(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=100)
    await fill(pool, jobs=20, images=500, name="flood", model="placeholder-1", priority=0, account="flood")
    assert await hand_out(queue, places=4) == 4
    for n in range(5):
        await end(pool, chance=n / 10)
        assert await hand_out(queue, places=4) == 1
    await account(pool, "single", images=1, priority=2)
    assert await hand_out(queue, places=4) == 0, "no place is free"
    await end(pool)
    assert await hand_out(queue, places=4) == 1
    assert await running(pool) == {"flood": 3, "single": 1}


async def test_the_slots_of_workers_are_shared_over_all_providers(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool, slots=4)
    await pool.execute("UPDATE workers SET providers = '{placeholder, other}'")
    await account(pool, "flood", images=20)
    await account(pool, "few", images=5)
    await pool.execute("UPDATE images SET provider = 'other' WHERE account = 'few' OR position % 2 = 0")
    both = {"placeholder": 50, "other": 50}
    assert await admit(queue, max_concurrency=both, lease_seconds=ANY_LEASE) == 4
    assert await running(pool) == {"flood": 2, "few": 2}


async def test_the_slots_of_a_worker_are_for_the_providers_that_it_serves(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    """What no worker has a slot for would wait in the queue, and keep an idle worker from what it could begin."""
    await register(pool, slots=4)
    other = await register(pool, slots=4)
    await pool.execute("UPDATE workers SET providers = '{other}' WHERE id = $1", other)
    both = {"placeholder": 50, "other": 50}
    await account(pool, "flood", images=20)
    assert await admit(queue, max_concurrency=both, lease_seconds=ANY_LEASE) == 4
    assert await admit(queue, max_concurrency=both, lease_seconds=ANY_LEASE) == 0, "its worker is full"
    await pass_time(pool, 3600)
    bounds = Bounds(max_concurrency=both, requests_per_minute={})
    found = await suspects(pool, bounds, lease_seconds=ANY_LEASE, for_seconds=60)
    assert Counter(each.cause.value for each in found) == {"not_taken": 4}, "the others wait for a slot"
    await account(pool, "few", images=5)
    await pool.execute("UPDATE images SET provider = 'other' WHERE account = 'few'")
    assert await admit(queue, max_concurrency=both, lease_seconds=ANY_LEASE) == 4
    assert await running(pool) == {"flood": 4, "few": 4}


@pytest.mark.parametrize("others", [0, 1])
async def test_what_a_worker_that_drains_still_makes_keeps_no_other_idle(
    others: int, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    """In a rolling upgrade the next worker begins at once, and not when the calls of the one before are over."""
    leaving = await register(pool, slots=4)
    await account(pool, "flood", images=20)
    assert await admit(queue, max_concurrency={"placeholder": 50}, lease_seconds=ANY_LEASE) == 4
    await pool.execute(
        "UPDATE images SET status = 'generating', claim_token = gen_random_uuid(), worker_id = $1, admitted_at = NULL"
        " WHERE admitted_at IS NOT NULL",
        leaving,
    )
    await pool.execute("UPDATE workers SET draining = true")
    await register(pool, slots=4)
    for _ in range(others):
        other = await register(pool, slots=4)
        await pool.execute("UPDATE workers SET providers = '{other}' WHERE id = $1", other)
    assert await admit(queue, max_concurrency={"placeholder": 50}, lease_seconds=ANY_LEASE) == 4
    await pass_time(pool, 3600)
    bounds = Bounds(max_concurrency={"placeholder": 50}, requests_per_minute={})
    found = await suspects(pool, bounds, lease_seconds=ANY_LEASE, for_seconds=60)
    assert Counter(each.cause.value for each in found) == {"not_worked_on": 4, "not_taken": 4}, "others wait for a slot"


async def test_an_account_has_no_more_made_than_it_may_and_leaves_its_places_to_others(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=100)
    await account(pool, "capped", images=20, weight=100, max_concurrency=2)
    await account(pool, "other", images=20)
    assert await hand_out(queue, places=8, times=3) == 8
    assert await running(pool) == {"capped": 2, "other": 6}
    await pool.execute("UPDATE accounts SET max_concurrency = 1")
    await end(pool, images=8)
    assert await hand_out(queue, places=2, times=2) == 2
    assert await running(pool) == {"capped": 1, "other": 1}


async def call(pool: asyncpg.Pool, name: str, status: str) -> None:
    """One that runs of this account has sent its call, which has come no further, and was given back."""
    await pool.execute(
        "WITH one AS (UPDATE images SET admitted_at = NULL, queue_row_id = NULL,"
        " not_before = safelight.now() + interval '1 h'"
        "             WHERE row_id = (SELECT min(row_id) FROM images WHERE account = $1 AND admitted_at IS NOT NULL)"
        "             RETURNING *)"
        " INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
        " worker_id, sent_at, deadline_at, resolve_at, remote)"
        " SELECT 'att_' || row_id, row_id, 1, 1, $2, provider, model, fingerprint, gen_random_uuid(),"
        " gen_random_uuid(), safelight.now(), safelight.now(), safelight.now(), '{}' FROM one",
        name,
        status,
    )


@pytest.mark.parametrize("status", ["sent", "submitted"])
async def test_a_call_that_may_still_answer_counts_for_its_account(
    status: str, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=100)
    await account(pool, "capped", images=20, max_concurrency=2)
    assert await hand_out(queue, places=8, times=2) == 2
    await call(pool, "capped", status)
    assert await running(pool) == {"capped": 1}
    assert await hand_out(queue, places=8, times=2) == 0
    await pool.execute("UPDATE attempts SET status = 'unknown'")
    assert await hand_out(queue, places=8, times=2) == 1


async def test_the_probe_of_a_shut_gate_is_nobodys_who_has_all_made_that_it_may(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=100)
    await account(pool, "capped", images=9, max_concurrency=1)
    assert await hand_out(queue, places=8) == 1
    await pool.execute(
        "INSERT INTO gates (provider, model, shut_at, probe_at) VALUES ('placeholder', '', safelight.now(), now())"
    )
    assert await hand_out(queue, places=8) == 0
    await account(pool, "other", images=9, priority=2)
    assert await hand_out(queue, places=8, times=2) == 1
    assert await running(pool) == {"capped": 1, "other": 1}
    probe = "SELECT account FROM images JOIN gates ON probe_row_id = row_id"
    assert await pool.fetchval(probe) == "other"


async def test_urgency_orders_what_one_account_has_and_not_what_others_have(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=100)
    await account(pool, "first", images=2, priority=2)
    await account(pool, "first", images=2, priority=0)
    await account(pool, "second", images=2)
    assert await hand_out(queue, places=3) == 3
    rows = await pool.fetch("SELECT account, priority FROM images WHERE admitted_at IS NOT NULL ORDER BY queue_row_id")
    assert [tuple(row) for row in rows] == [("first", 0), ("second", 1), ("first", 0)]


async def test_of_more_accounts_than_are_looked_at_each_has_its_turn(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool, slots=100)
    for n in range(30):
        await account(pool, f"account-{n:02}", images=20)
    where: Where = {}
    await hand_out(queue, places=3, where=where)
    for n in range(120):
        assert len(where) == 1
        await end(pool, images=1, chance=n / 200)
        assert await hand_out(queue, places=3, where=where) == 1
    counts = [await begun(pool, f"account-{n:02}") for n in range(30)]
    assert sum(counts) == 123
    assert min(counts) >= 3, counts
    assert max(counts) <= 6, counts


@pytest.mark.parametrize("places_elsewhere", [0, 1])
async def test_an_admission_without_room_there_begins_no_new_round_of_the_accounts(
    pool: asyncpg.Pool, queue: asyncpg.Pool, places_elsewhere: int
) -> None:
    """Most admissions of a busy service find no room: those whose names come late would never have a turn."""
    await register(pool, slots=100)
    await pool.execute("UPDATE workers SET providers = '{placeholder, other}'")
    for n in range(30):
        await account(pool, f"account-{n:02}", images=5)
    await account(pool, "elsewhere", images=100)
    await pool.execute("UPDATE images SET provider = 'other' WHERE account = 'elsewhere'")
    where: Where = {}
    for n in range(90):
        assert await hand_out(queue, places=1, where=where) == 1
        both = {"placeholder": 1, "other": places_elsewhere}
        await admit(queue, max_concurrency=both, lease_seconds=ANY_LEASE, where=where, max_accounts=8)
        await end(pool, images=2, chance=n / 100)
    assert min([await begun(pool, f"account-{n:02}") for n in range(30)]) >= 2


async def test_more_accounts_are_looked_at_where_more_can_start(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool, slots=100)
    for n in range(30):
        await account(pool, f"account-{n:02}", images=2)
    assert await hand_out(queue, places=20, where={}) == 20
    assert set((await running(pool)).values()) == {1}


async def test_clocks_that_say_nothing_any_more_are_forgotten(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    await register(pool, slots=100)
    await account(pool, "gone", images=1)
    await account(pool, "stays", images=20)
    for _ in range(10):
        await hand_out(queue, places=2)
        await end(pool, images=2)
    await swept(settings, pool, queue)
    rows = await pool.fetch("SELECT account FROM turns WHERE provider = 'placeholder' ORDER BY account")
    assert [row["account"] for row in rows] == ["", "stays"]


async def test_what_waits_for_its_accounts_own_limit_is_not_stuck(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool, slots=100)
    await account(pool, "capped", images=3, max_concurrency=1)
    assert await hand_out(queue, places=8) == 1
    await pass_time(pool, 3600)
    await register(pool, slots=100)
    bounds = Bounds(max_concurrency={"placeholder": 8}, requests_per_minute={})
    found = await suspects(pool, bounds, lease_seconds=15, for_seconds=60)
    assert {each.cause.value for each in found} == {"not_taken"}
    await pool.execute("UPDATE accounts SET max_concurrency = NULL")
    found = await suspects(pool, bounds, lease_seconds=15, for_seconds=60)
    assert Counter(each.cause.value for each in found) == {"not_taken": 1, "not_handed_out": 2}


async def test_images_know_whose_they_are(pool: asyncpg.Pool) -> None:
    await account(pool, "mine", images=2)
    assert await pool.fetchval("SELECT count(*) FROM images AS i JOIN jobs AS j ON j.id = i.job_id"
                               " WHERE i.account = j.account AND i.account = 'mine'") == 2  # fmt: skip
