"""What admission counts, and what it leaves where it is."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import pytest

from safelight.domain.ids import new_attempt_id
from safelight.engine.image import settle
from safelight.engine.orders.submit import submit
from safelight.engine.queue.admission import admit
from safelight.settings import Settings
from tests.engine.by_hand import admitted_one, pass_time, pipeline_of
from tests.engine.test_claim import register, take
from tests.orders import image, order

CAP_1 = {"placeholder": 1}
CAP_8 = {"placeholder": 8}
ANY_LEASE = 1e9
"""For tests that move the clock: workers do not beat meanwhile."""


async def lanes(pool: asyncpg.Pool) -> list[tuple[str, str]]:
    rows = await pool.fetch("SELECT id, lane FROM images WHERE admitted_at IS NOT NULL ORDER BY row_id")
    return [(row["id"], row["lane"]) for row in rows]


async def test_a_call_that_may_still_answer_counts_against_its_provider_and_its_image_only_finishes(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    _, hint = await admitted_one(pool, queue, image("unresolved", timeout_seconds=100))
    lease = await take(pool, hint, worker)
    assert lease is not None
    async with pipeline_of(settings, pool, worker) as pipeline:
        assert await pipeline.commit(lease, call_seconds=100) is not None
    await pool.execute("UPDATE images SET status = 'processing'")
    await settle.release(pool, lease)
    await submit(pool, order(image("next")), run_limit_seconds=3600)

    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=15) == 1
    assert await lanes(pool) == [("unresolved", "finish")], "the vendor may still be busy with the lost call"
    await pool.execute("UPDATE attempts SET status = 'unknown'")
    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=15) == 1
    assert await lanes(pool) == [("unresolved", "finish"), ("next", "buy")]


async def test_an_image_is_not_admitted_before_it_is_due(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await submit(pool, order(image("later")), run_limit_seconds=3600)
    await pool.execute("UPDATE images SET not_before = safelight.now() + interval '60 s'")
    await register(pool)
    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=15) == 0
    await pass_time(pool, 61)
    await register(pool)
    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=15) == 1


async def test_a_worker_that_drains_offers_no_slots(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool)
    await pool.execute("UPDATE workers SET draining = true")
    await submit(pool, order(image("img")), run_limit_seconds=3600)
    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=15) == 0


async def test_a_silent_worker_offers_no_slots_beside_one_that_lives(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool, slots=5)
    await pass_time(pool, 3600)
    await register(pool, slots=1)
    await submit(pool, order(*(image(f"img-{n}") for n in range(4))), run_limit_seconds=3600)
    assert await admit(queue, max_concurrency={"placeholder": 9}, lease_seconds=15) == 1


async def test_an_image_that_only_finishes_takes_no_slot_of_those_that_buy(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    worker = await register(pool)
    _, hint = await admitted_one(pool, queue, image("unresolved", timeout_seconds=100))
    lease = await take(pool, hint, worker)
    assert lease is not None
    async with pipeline_of(settings, pool, worker) as pipeline:
        assert await pipeline.commit(lease, call_seconds=100) is not None
    await pool.execute("UPDATE images SET status = 'processing'")
    await settle.release(pool, lease)
    await pool.execute("UPDATE workers SET finish_slots = 0")
    assert await admit(queue, max_concurrency={"placeholder": 8}, lease_seconds=15) == 0


async def wait_for(pool: asyncpg.Pool, *models: str) -> None:
    """Images of these models queue up, each a second after the one before, all due."""
    images = (image(f"{model}-{n}", model=model) for n, model in enumerate(models))
    accepted = await submit(pool, order(*images), run_limit_seconds=1e9)
    await pool.execute(
        "UPDATE images SET not_before = safelight.now() - make_interval(secs => $2 - position) WHERE job_id = $1",
        accepted.job_id,
        len(models),
    )


async def shut(pool: asyncpg.Pool, model: str, *, probe_in_seconds: float) -> None:
    await pool.execute(
        "INSERT INTO gates (provider, model, shut_at, probe_at)"
        " VALUES ('placeholder', $1, safelight.now(), safelight.now() + make_interval(secs => $2))",
        model,
        probe_in_seconds,
    )


async def start(pool: asyncpg.Pool, queue: asyncpg.Pool, *, calls: int = 1) -> list[str]:
    """The images that are in hand after so many admissions at once."""
    await asyncio.gather(*(admit(queue, max_concurrency=CAP_8, lease_seconds=ANY_LEASE) for _ in range(calls)))
    return [name for name, lane in await lanes(pool) if lane == "buy"]


async def test_a_model_whose_gate_is_shut_gets_nothing_and_the_others_go_on(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await wait_for(pool, "ill", "well", "ill", "well")
    await shut(pool, "ill", probe_in_seconds=10)
    assert await start(pool, queue) == ["well-1", "well-3"]


async def test_an_account_whose_gate_is_shut_gets_nothing_for_any_model(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await wait_for(pool, "one", "two")
    await shut(pool, "", probe_in_seconds=10)
    assert await start(pool, queue) == []


@pytest.mark.parametrize("model", ["", "one"])
async def test_when_a_probe_is_due_two_admissions_at_once_hand_out_one_image(
    model: str, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await wait_for(pool, "one", "one", "one")
    await shut(pool, model, probe_in_seconds=0)
    assert await start(pool, queue, calls=2) == ["one-0"]
    assert await start(pool, queue, calls=2) == ["one-0"], "the probe is out"
    row_id = await pool.fetchval("SELECT row_id FROM images WHERE admitted_at IS NOT NULL")
    assert await pool.fetchval("SELECT probe_row_id FROM gates") == row_id


async def test_an_account_is_probed_once_over_all_of_its_models_and_each_model_for_itself(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await wait_for(pool, "one", "two", "three")
    await shut(pool, "two", probe_in_seconds=0)
    await shut(pool, "three", probe_in_seconds=0)
    await shut(pool, "", probe_in_seconds=5)
    assert await start(pool, queue) == []
    await pass_time(pool, 6)
    assert await start(pool, queue) == ["one-0"]
    await pool.execute("DELETE FROM gates WHERE model = ''")
    assert await start(pool, queue) == ["one-0", "two-1", "three-2"]


async def test_one_image_is_the_probe_of_every_gate_that_it_passes(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool)
    await wait_for(pool, "one", "one")
    await shut(pool, "", probe_in_seconds=0)
    await shut(pool, "one", probe_in_seconds=5)
    assert await start(pool, queue) == [], "the model's gate is not to be tried yet"
    await pass_time(pool, 6)
    assert await start(pool, queue) == ["one-0"]
    assert await pool.fetchval("SELECT count(DISTINCT probe_row_id) FROM gates WHERE probe_row_id IS NOT NULL") == 1


async def test_a_probe_that_finds_no_free_slot_is_not_taken_for_one(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool, slots=1)
    await wait_for(pool, "well", "ill")
    await shut(pool, "ill", probe_in_seconds=0)
    assert await start(pool, queue) == ["well-0"]
    assert await pool.fetchval("SELECT probe_row_id FROM gates") is None


@pytest.mark.parametrize("model", ["", "one"])
async def test_a_limited_rate_keeps_images_back_until_its_moment_and_probes_as_well(
    model: str, pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await wait_for(pool, "one", "one")
    await shut(pool, "one", probe_in_seconds=0)
    await pool.execute(
        "INSERT INTO gates (provider, model, limited_until)"
        " VALUES ('placeholder', $1, safelight.now() + interval '9 s')"
        " ON CONFLICT (provider, model) DO UPDATE SET limited_until = EXCLUDED.limited_until",
        model,
    )
    assert await start(pool, queue) == []
    await pass_time(pool, 10)
    assert await start(pool, queue) == ["one-0"]


async def test_a_job_at_the_vendor_counts_as_a_call_and_its_image_only_finishes(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    await register(pool)
    await wait_for(pool, "one", "one")
    await pool.execute(
        "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
        " worker_id, sent_at, deadline_at, resolve_at, remote)"
        " SELECT 'att', row_id, 1, 1, 'submitted', provider, model, 'f', gen_random_uuid(), gen_random_uuid(),"
        " safelight.now(), safelight.now(), safelight.now(), '{}' FROM images WHERE position = 0"
    )
    assert await admit(queue, max_concurrency=CAP_1, lease_seconds=ANY_LEASE) == 1
    assert await lanes(pool) == [("one-0", "finish")]


async def send(pool: asyncpg.Pool, row_id: int) -> None:
    """The image's call leaves now, and is answered at once."""
    await pool.execute(
        "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
        " worker_id, sent_at, deadline_at, resolve_at)"
        " SELECT $2, row_id, 1, 1, 'settled', provider, model, 'f', gen_random_uuid(), gen_random_uuid(),"
        " safelight.now(), safelight.now(), safelight.now() FROM images WHERE row_id = $1",
        row_id,
        new_attempt_id(),
    )
    await pool.execute(
        "UPDATE images SET status = 'completed', admitted_at = NULL, claim_token = NULL WHERE row_id = $1", row_id
    )


async def test_calls_of_any_sixty_seconds_stay_within_the_requests_per_minute(
    pool: asyncpg.Pool, queue: asyncpg.Pool
) -> None:
    """Whoever admits, however long an image takes to be sent: claimed at once, or left in the queue for a while."""
    chance = random.Random(7)
    await register(pool, slots=500)
    await wait_for(pool, *(f"model-{n % 3}" for n in range(300)))

    async def admission() -> int:
        return await admit(
            queue,
            max_concurrency={"placeholder": 100},
            requests_per_minute={"placeholder": 10},
            lease_seconds=ANY_LEASE,
        )

    elapsed_seconds = 0.0
    for _ in range(60):
        handed_out = sum(await asyncio.gather(*(admission() for _ in range(3))))
        assert handed_out <= 10
        await pool.execute(
            "UPDATE images SET status = 'processing', admitted_at = NULL, claim_token = gen_random_uuid()"
            " WHERE admitted_at IS NOT NULL AND row_id % 2 = 0"
        )
        unsent = await pool.fetch("SELECT row_id FROM images WHERE admitted_at IS NOT NULL OR status = 'processing'")
        for row in unsent:
            if chance.random() < 0.7:
                await send(pool, row["row_id"])
        pause = chance.choice([0.5, 3.0, 20.0])
        await pass_time(pool, pause)
        elapsed_seconds += pause
    most = await pool.fetchval(
        "SELECT max(calls) FROM (SELECT count(*) OVER (ORDER BY sent_at RANGE BETWEEN CURRENT ROW"
        " AND interval '59.999 s' FOLLOWING) AS calls FROM attempts) AS minute"
    )
    assert most == 10
    sent = await pool.fetchval("SELECT count(*) FROM attempts")
    assert sent > 0.6 * 10 * elapsed_seconds / 60, "the rate that is allowed is used"


async def test_requests_per_minute_are_counted_by_provider(pool: asyncpg.Pool, queue: asyncpg.Pool) -> None:
    await register(pool, slots=50)
    await wait_for(pool, *["one"] * 9)
    caps = {"placeholder": 50, "gemini": 50}
    assert await admit(queue, max_concurrency=caps, requests_per_minute={"gemini": 1}, lease_seconds=ANY_LEASE) == 9
