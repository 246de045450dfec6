"""A great many images wait: what goes next is found by index, in order, and no more of them are looked at than can
start, also when the first hundred thousand are for a provider that is paused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import asyncpg
import orjson
import pytest

from safelight.db.statements import load
from safelight.engine.admission import admit
from tests.engine.test_claim import register

ADMIT = load("admission").admit


async def fill(
    pool: asyncpg.Pool, *, jobs: int, images: int, model: str = "m", name: str | None = None, priority: int = 1
) -> None:
    """Jobs of `images` each, a second after one another, all due."""
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
    for row in await pool.fetch("SELECT id FROM jobs WHERE id LIKE 'job_' || $1 || '%'", name):
        await pool.execute(
            "INSERT INTO images (job_id, position, id, image_group, provider, model, prompt, options, fingerprint,"
            " timeout_seconds, max_attempts, max_rebuys, on_uncertain, priority, not_before, created_at, changed_at)"
            " SELECT j.id, p, 'img-' || p, 'g', 'placeholder', $3, 'a prompt of some length ' || p, '{}', 'f', 60,"
            " 3, 1, 'retry_once', $4, j.run_started_at, now(), now() FROM jobs AS j, generate_series(0, $2 - 1) AS p"
            " WHERE j.id = $1",
            row["id"],
            images,
            model,
            priority,
        )


async def test_the_next_of_ten_thousand_images_are_found_by_index_and_in_order(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=600)
    await fill(pool, jobs=20, images=500)
    await pool.execute("ANALYZE")
    plan = await pool.fetch("EXPLAIN " + ADMIT, ["placeholder"], [8], [None], 15.0, 15.0)
    lines = [row[0] for row in plan]
    assert not [line for line in lines if "Seq Scan on images" in line], "\n".join(lines)

    assert await admit(queue, max_concurrency={"placeholder": 510}, lease_seconds=15) == 510
    rows = await pool.fetch(
        "SELECT job_id, position FROM images WHERE admitted_at IS NOT NULL ORDER BY job_id, position"
    )
    expected = [("job_m001", n) for n in range(500)] + [("job_m002", n) for n in range(10)]
    assert await pool.fetchval("SELECT count(*) FROM images WHERE admitted_at IS NOT NULL AND priority = 1") == 510
    assert [(row["job_id"], row["position"]) for row in rows] == expected
    assert await admit(queue, max_concurrency={"placeholder": 510}, lease_seconds=15) == 0
    assert await pool.fetchval("SELECT count(*) FROM pgqueuer") == 510


async def looked_at(pool: asyncpg.Pool) -> float:
    """Rows of `images` that one admission of up to eight reads; it is undone."""
    async with pool.acquire() as conn:
        transaction = conn.transaction()
        await transaction.start()
        [row] = await conn.fetch("EXPLAIN (ANALYZE, FORMAT JSON) " + ADMIT, ["placeholder"], [8], [60], 15.0, 15.0)
        await transaction.rollback()
    return sum(read(node) for node in nodes(orjson.loads(row[0])[0]["Plan"]) if node.get("Relation Name") == "images")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def read(scan: dict[str, Any]) -> float:
    rejected = sum(scan.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
    return (scan["Actual Rows"] + rejected) * scan["Actual Loops"]


@pytest.mark.parametrize("statistics", ["fresh", "of an empty table", "of a table in which nothing waited"])
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
    assert await looked_at(pool) < 100
    assert await admit(queue, max_concurrency={"placeholder": 8}, lease_seconds=15) == 8
    assert await pool.fetchval("SELECT count(*) FROM images WHERE admitted_at IS NOT NULL AND model = 'well'") == 8
    await pool.execute("UPDATE gates SET probe_at = safelight.now()")
    assert await looked_at(pool) < 100
    assert await admit(queue, max_concurrency={"placeholder": 16}, lease_seconds=15) == 8
    assert await pool.fetchval("SELECT count(*) FROM images WHERE admitted_at IS NOT NULL AND model = 'ill'") == 1


@pytest.mark.parametrize("statistics", [pytest.param("fresh", marks=pytest.mark.slow), "of an empty table"])
async def test_a_hundred_thousand_urgent_images_that_are_not_due_or_await_pictures_are_not_walked(
    statistics: str, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await pool.execute("ALTER TABLE images SET (autovacuum_enabled = false)")
    if statistics == "of an empty table":
        await pool.execute("ANALYZE")
    await fill(pool, jobs=200, images=500, name="urgent", priority=0)
    await pool.execute("UPDATE images SET not_before = not_before + interval '1 day' WHERE position % 2 = 0")
    await pool.execute("UPDATE images SET awaits_parents = true WHERE position % 2 = 1")
    await fill(pool, jobs=1, images=20, name="idle", priority=2)
    await fill(pool, jobs=1, images=20, name="usual", priority=1)
    await fill(pool, jobs=1, images=20, name="late", priority=3)
    if statistics == "fresh":
        await pool.execute("ANALYZE")
    await register(pool, slots=600)

    assert await looked_at(pool) < 150
    for most, kind in ((8, "usual"), (30, "idle"), (60, "late")):
        await admit(queue, max_concurrency={"placeholder": most}, lease_seconds=15)
        last = "SELECT job_id FROM images WHERE admitted_at IS NOT NULL ORDER BY queue_row_id DESC LIMIT 1"
        assert await pool.fetchval(last) == f"job_{kind}001"
    assert await pool.fetchval("SELECT count(*) FROM images WHERE admitted_at IS NOT NULL") == 60
    assert await looked_at(pool) < 150, "nothing that is due is left"
    await pool.execute("UPDATE images SET not_before = not_before - interval '2 days' WHERE job_id = 'job_urgent007'")
    assert await looked_at(pool) < 150
    assert await admit(queue, max_concurrency={"placeholder": 68}, lease_seconds=15) == 8
    urgent = "SELECT count(*) FROM images WHERE admitted_at IS NOT NULL AND priority = 0"
    assert await pool.fetchval(urgent) == 8
