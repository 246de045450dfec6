"""Ten thousand images wait: what goes next is found by index, in order, and no more than can start."""

from __future__ import annotations

import asyncpg

from safelight.db.statements import load
from safelight.engine.admission import admit
from tests.engine.test_claim import register

JOBS, IMAGES = 20, 500


async def fill(pool: asyncpg.Pool) -> None:
    await pool.execute(
        "INSERT INTO jobs (id, request_fingerprint, outputs, metadata, deadline_seconds, on_deadline, run_started_at,"
        " deadline_at, run_ends_at, created_at)"
        " SELECT 'job_' || lpad(n::text, 3, '0'), '', '[]', '{}', 3600, 'continue', t.at + n * interval '1 s',"
        " now() + interval '1 h', now() + interval '24 h', now()"
        " FROM generate_series(1, $1) AS n, (SELECT now() - interval '1 h' AS at) AS t",
        JOBS,
    )
    await pool.execute(
        "INSERT INTO images (job_id, position, id, image_group, provider, model, prompt, options, fingerprint,"
        " timeout_seconds, max_attempts, max_rebuys, on_uncertain, not_before, created_at, changed_at)"
        " SELECT j.id, p, 'img-' || p, 'g', 'placeholder', 'm', 'a prompt of some length ' || p, '{}', 'f', 60, 3, 1,"
        " 'retry_once', j.run_started_at, now(), now() FROM jobs AS j, generate_series(0, $1 - 1) AS p",
        IMAGES,
    )
    await pool.execute("ANALYZE")


async def test_the_next_of_ten_thousand_images_are_found_by_index_and_in_order(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool, slots=600)
    await fill(pool)
    plan = await pool.fetch("EXPLAIN " + load("admission").admit, ["placeholder"], [8], 15.0)
    lines = [row[0] for row in plan]
    assert not [line for line in lines if "Seq Scan on images" in line], "\n".join(lines)

    assert await admit(queue, max_concurrency={"placeholder": 510}, lease_seconds=15) == 510
    rows = await pool.fetch(
        "SELECT job_id, position FROM images WHERE admitted_at IS NOT NULL ORDER BY job_id, position"
    )
    expected = [("job_001", n) for n in range(500)] + [("job_002", n) for n in range(10)]
    assert [(row["job_id"], row["position"]) for row in rows] == expected
    assert await admit(queue, max_concurrency={"placeholder": 510}, lease_seconds=15) == 0
    assert await pool.fetchval("SELECT count(*) FROM pgqueuer") == 510
