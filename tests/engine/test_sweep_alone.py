"""The sweep, where one rule or one row must not be in the way of the others."""

from __future__ import annotations

import hashlib
from pathlib import Path

import asyncpg

from safelight.domain.money import CostBasis
from safelight.engine.queue.admission import admit
from safelight.engine.queue.sweep import sweep
from safelight.engine.timing import Timing
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import Receipt
from tests.engine.test_claim import CAPS, admitted, register, take
from tests.orders import attempts_of, images_of, job_row

TIMING = Timing(lease_seconds=1.0, admission_seconds=0.1)


async def test_a_live_image_whose_queue_row_nobody_serves_goes_back_to_the_backlog(
    pool: asyncpg.Pool, queue: asyncpg.Pool, tmp_path: Path
) -> None:
    """Its worker died, and the one that came after does not have its provider any more."""
    worker = await register(pool)
    job_id, [hint] = await admitted(pool, queue)
    assert await take(pool, hint, worker)
    await pool.execute("DELETE FROM workers")
    await pool.execute("UPDATE installation SET clock_shift = '1 minute'")
    found = await sweep(pool, queue, LocalStaging(tmp_path), timing=TIMING)
    assert found is not None
    assert found.orphans == 1
    [row] = await images_of(pool, job_id)
    assert row["status"] == "queued"
    assert await pool.fetchval("SELECT count(*) FROM pgqueuer") == 0


async def test_nothing_is_admitted_for_a_provider_that_no_living_worker_serves(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    worker = await register(pool)
    await pool.execute("UPDATE workers SET providers = '{another}' WHERE id = $1", worker)
    _, hints = await admitted(pool, queue)
    assert hints == []
    await pool.execute("UPDATE workers SET providers = '{placeholder}' WHERE id = $1", worker)
    assert await admit(queue, max_concurrency=CAPS, lease_seconds=15) == 1


async def test_a_run_that_is_over_ends_its_job_whoever_was_to_serve_it(
    pool: asyncpg.Pool, queue: asyncpg.Pool, tmp_path: Path
) -> None:
    worker = await register(pool)
    job_id, [hint] = await admitted(pool, queue)
    assert await take(pool, hint, worker)
    await pool.execute("DELETE FROM workers")
    await pool.execute("UPDATE installation SET clock_shift = '2 days'")
    for _ in range(2):
        await sweep(pool, queue, LocalStaging(tmp_path), timing=TIMING)
    assert (await job_row(pool, job_id))["status"] == "failed"
    [row] = await images_of(pool, job_id)
    assert (row["error"]["kind"], row["error"]["billed"]) == ("DEADLINE", "no")


async def test_a_receipt_that_cannot_be_stored_is_in_nobody_s_way(
    pool: asyncpg.Pool, queue: asyncpg.Pool, tmp_path: Path
) -> None:
    await register(pool)
    job_id, _ = await admitted(pool, queue, images=2)
    staging = LocalStaging(tmp_path)
    for n, request_id in enumerate(("bad\0text", "good")):
        await pool.execute(
            "INSERT INTO attempts (id, image_row_id, number, run, provider, model, fingerprint, claim_token, worker_id,"
            " sent_at, deadline_at, resolve_at) SELECT $1, row_id, 1, 1, provider, model, fingerprint,"
            " gen_random_uuid(), gen_random_uuid(), safelight.now(), safelight.now(), safelight.now() + interval '1 h'"
            " FROM images WHERE position = $2",
            f"att_{n}",
            n,
        )
        receipt = Receipt(
            attempt_id=f"att_{n}",
            image_row_id=n,
            job_id=job_id,
            sha256=hashlib.sha256(b"x").hexdigest(),
            length=1,
            claimed_mime="image/png",
            cost_microusd=None,
            cost_basis=CostBasis.UNKNOWN,
            price_ref=None,
            request_id=request_id,
            model_version=None,
            received_at=f"2026-01-0{n + 1}T00:00:00+00:00",
        )
        await staging.stage(receipt, b"x")
    found = await sweep(pool, queue, staging, timing=TIMING)
    assert found is not None
    assert found.receipts == 1
    assert [a["status"] for a in await attempts_of(pool, job_id)] == ["sent", "received"]
