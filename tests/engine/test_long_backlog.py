"""A great many images wait: what goes next is found by index, in order, and no more of them are looked at than can
start, also when the first hundred thousand are for a provider that is paused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
import pytest

from safelight.engine.queue.admission import MAX_ACCOUNTS, admit
from tests.engine.test_claim import register


async def fill(
    pool: asyncpg.Pool,
    *,
    jobs: int,
    images: int,
    model: str = "m",
    name: str | None = None,
    priority: int = 1,
    account: str = "default",
    is_due: bool = True,
) -> None:
    """Jobs of `images` each, a second after one another, all due; or else every other one in a day, while the rest
    await pictures."""
    name = name or model
    await pool.execute(
        "INSERT INTO jobs (id, request_fingerprint, outputs, metadata, deadline_seconds, on_deadline, run_started_at,"
        " deadline_at, run_ends_at, created_at)"
        " SELECT 'job_' || $2 || lpad(n::text, 3, '0'), '', '[]', '{}', 3600, 'continue', t.at + n * interval '1 s',"
        " now() + interval '1 h', now() + interval '24 h', now()"
        " FROM generate_series(1, $1) AS n, (SELECT now() - interval '1 h' AS at) AS t",
        jobs,
        name,
    )
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL statement_timeout = '60s'")
        await conn.execute(
            "INSERT INTO images (job_id, position, id, image_group, provider, model, prompt, options, fingerprint,"
            " timeout_seconds, max_attempts, max_rebuys, on_uncertain, priority, not_before, created_at, changed_at,"
            " account, awaits_parents)"
            " SELECT j.id, p, 'img-' || p, 'g', 'placeholder', $3, 'a prompt of some length ' || p, '{}', 'f', 60,"
            " 3, 1, 'retry_once', $4,"
            " CASE WHEN $6 OR p % 2 = 1 THEN j.run_started_at ELSE j.run_started_at + interval '1 day' END,"
            " now(), now(), $5, NOT $6 AND p % 2 = 1"
            " FROM jobs AS j, generate_series(0, $2 - 1) AS p WHERE j.id LIKE 'job_' || $1 || '%' ORDER BY j.id, p",
            name,
            images,
            model,
            priority,
            account,
            is_due,
            timeout=60,
        )


async def test_the_next_of_ten_thousand_images_are_found_by_index_and_in_order(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=600)
    await fill(pool, jobs=20, images=500)
    await pool.execute("ANALYZE")
    plans = [node for node in await plans_of_one(queue) if node.get("Relation Name") == "images"]
    assert plans
    assert "Seq Scan" not in {node["Node Type"] for node in plans}

    assert await admit(queue, max_concurrency={"placeholder": 510}, lease_seconds=15) == 510
    rows = await pool.fetch(
        "SELECT job_id, position FROM images WHERE admitted_at IS NOT NULL ORDER BY job_id, position"
    )
    expected = [("job_m001", n) for n in range(500)] + [("job_m002", n) for n in range(10)]
    assert await pool.fetchval("SELECT count(*) FROM images WHERE admitted_at IS NOT NULL AND priority = 1") == 510
    assert [(row["job_id"], row["position"]) for row in rows] == expected
    assert await admit(queue, max_concurrency={"placeholder": 510}, lease_seconds=15) == 0
    assert await pool.fetchval("SELECT count(*) FROM pgqueuer") == 510


class Explained:
    """In place of a pool: its one connection explains every statement before it makes it."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.nodes: list[dict[str, Any]] = []

    @asynccontextmanager
    async def acquire(self, **_: Any) -> AsyncIterator[Any]:
        yield self

    def transaction(self) -> Any:
        return self.conn.transaction()

    async def fetch(self, statement: str, *args: Any) -> list[Any]:
        attempt = self.conn.transaction()
        await attempt.start()
        [row] = await self.conn.fetch("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, *args)
        await attempt.rollback()
        self.nodes += nodes(orjson.loads(row[0])[0]["Plan"])
        return await self.conn.fetch(statement, *args)

    async def execute(self, statement: str, *args: Any) -> None:
        await self.fetch(statement, *args)


async def plans_of_one(queue: asyncpg.Pool) -> list[dict[str, Any]]:
    """The nodes of the plans of one admission of up to eight; it is undone."""
    async with queue.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        explained = Explained(conn)
        await admit(
            explained,  # pyright: ignore[reportArgumentType]
            max_concurrency={"placeholder": 8},
            requests_per_minute={"placeholder": 60},
            lease_seconds=15,
        )
        await transaction.rollback()
    return explained.nodes


async def looked_at(queue: asyncpg.Pool) -> float:
    """Rows of `images` that one admission of up to eight reads; it is undone."""
    return sum(read(node) for node in await plans_of_one(queue) if node.get("Relation Name") == "images")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def read(scan: dict[str, Any]) -> float:
    rejected = sum(scan.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
    return (scan["Actual Rows"] + rejected) * scan["Actual Loops"]


@pytest.mark.parametrize(
    "statistics",
    [
        pytest.param("fresh", marks=pytest.mark.slow),
        "of an empty table",
        pytest.param("of a table in which nothing waited", marks=pytest.mark.slow),
    ],
)
async def test_a_hundred_thousand_images_of_a_shut_gate_are_passed_over_and_not_walked(
    statistics: str, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await pool.execute("ALTER TABLE images SET (autovacuum_enabled = false)")
    if statistics == "of an empty table":
        await pool.execute("ANALYZE")
    if statistics == "of a table in which nothing waited":
        await fill(pool, jobs=10, images=500, model="done")
        await pool.execute("UPDATE images SET status = 'completed'")
        await pool.execute("ANALYZE")
    await fill(pool, jobs=200, images=500, model="ill")
    await fill(pool, jobs=1, images=20, model="well")
    if statistics == "fresh":
        await pool.execute("ANALYZE")
    await register(pool, slots=600)
    await pool.execute(
        "INSERT INTO gates (provider, model, shut_at, probe_at)"
        " VALUES ('placeholder', 'ill', safelight.now(), safelight.now() + interval '1 h')"
    )
    assert await looked_at(queue) < 100
    assert await admit(queue, max_concurrency={"placeholder": 8}, lease_seconds=15) == 8
    assert await pool.fetchval("SELECT count(*) FROM images WHERE admitted_at IS NOT NULL AND model = 'well'") == 8
    await pool.execute("UPDATE gates SET probe_at = safelight.now()")
    assert await looked_at(queue) < 100
    assert await admit(queue, max_concurrency={"placeholder": 16}, lease_seconds=15) == 8
    assert await pool.fetchval("SELECT count(*) FROM images WHERE admitted_at IS NOT NULL AND model = 'ill'") == 1


@pytest.mark.parametrize("statistics", [pytest.param("fresh", marks=pytest.mark.slow), "of an empty table"])
async def test_a_hundred_thousand_urgent_images_that_are_not_due_or_await_pictures_are_not_walked(
    statistics: str, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await pool.execute("ALTER TABLE images SET (autovacuum_enabled = false)")
    if statistics == "of an empty table":
        await pool.execute("ANALYZE")
    await fill(pool, jobs=200, images=500, name="urgent", priority=0, is_due=False)
    await fill(pool, jobs=1, images=20, name="idle", priority=2)
    await fill(pool, jobs=1, images=20, name="usual", priority=1)
    await fill(pool, jobs=1, images=20, name="late", priority=3)
    if statistics == "fresh":
        await pool.execute("ANALYZE")
    await register(pool, slots=600)

    assert await looked_at(queue) < 150
    for most, kind in ((8, "usual"), (30, "idle"), (60, "late")):
        await admit(queue, max_concurrency={"placeholder": most}, lease_seconds=15)
        last = "SELECT job_id FROM images WHERE admitted_at IS NOT NULL ORDER BY queue_row_id DESC LIMIT 1"
        assert await pool.fetchval(last) == f"job_{kind}001"
    assert await pool.fetchval("SELECT count(*) FROM images WHERE admitted_at IS NOT NULL") == 60
    assert await looked_at(queue) < 150, "nothing that is due is left"
    await pool.execute("UPDATE images SET not_before = not_before - interval '2 days' WHERE job_id = 'job_urgent007'")
    assert await looked_at(queue) < 150
    assert await admit(queue, max_concurrency={"placeholder": 68}, lease_seconds=15) == 8
    urgent = "SELECT count(*) FROM images WHERE admitted_at IS NOT NULL AND priority = 0"
    assert await pool.fetchval(urgent) == 8


@pytest.mark.parametrize("statistics", [pytest.param("fresh", marks=pytest.mark.slow), "of an empty table"])
async def test_of_ten_thousand_images_of_a_hundred_accounts_few_are_looked_at(
    statistics: str, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await pool.execute("ALTER TABLE images SET (autovacuum_enabled = false)")
    if statistics == "of an empty table":
        await pool.execute("ANALYZE")
    for n in range(100):
        await fill(pool, jobs=1, images=100, name=f"of{n:02}-", account=f"account-{n:02}")
    if statistics == "fresh":
        await pool.execute("ANALYZE")
    await register(pool, slots=600)
    assert MAX_ACCOUNTS < await looked_at(queue) < MAX_ACCOUNTS + 64
    assert await admit(queue, max_concurrency={"placeholder": 8}, lease_seconds=15) == 8
    whose = "SELECT count(DISTINCT account) FROM images WHERE admitted_at IS NOT NULL"
    assert await pool.fetchval(whose) == 8


async def test_a_hundred_thousand_images_of_one_account_are_not_walked_for_the_single_one_of_another(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await pool.execute("ALTER TABLE images SET (autovacuum_enabled = false)")
    await fill(pool, jobs=200, images=500, name="flood", account="many", priority=0)
    await register(pool, slots=600)
    assert await admit(queue, max_concurrency={"placeholder": 8}, lease_seconds=15) == 8
    await fill(pool, jobs=1, images=1, name="single", account="few", priority=2)
    await pool.execute(
        "UPDATE images SET status = 'completed', admitted_at = NULL WHERE row_id ="
        " (SELECT min(row_id) FROM images WHERE admitted_at IS NOT NULL)"
    )
    assert await looked_at(queue) < 100
    assert await admit(queue, max_concurrency={"placeholder": 8}, lease_seconds=15) == 1
    assert await pool.fetchval("SELECT count(*) FROM images WHERE admitted_at IS NOT NULL AND account = 'few'") == 1
