"""The tally counts what a real engine has done: each thing once, whoever adds it up and whenever it is committed."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
import orjson

from safelight.db.pool import close_pool, open_pool
from safelight.db.statements import load
from safelight.domain.attempts import OnUncertain
from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.lifecycle import ImageStatus
from safelight.engine.figures.tally import BOUNDS_SECONDS, MODELS_PER_PROVIDER, Tally
from safelight.engine.image import provider_book, settle
from safelight.engine.image.outcome import ImageError
from safelight.engine.orders.control import CancelMode, cancel, retry
from safelight.engine.orders.submit import submit
from safelight.engine.queue.worker import Worker
from safelight.engine.upkeep.retention import forget_events
from safelight.settings import Settings
from tests.engine import alone
from tests.engine.by_hand import pass_time, picture, receipt_of
from tests.engine.test_long_backlog import nodes, read
from tests.engine.test_retention import DAY, KEEP, ended_job
from tests.engine.test_statistics import fill
from tests.engine.test_sweep import slow_image, with_a_call_open
from tests.orders import GEMINI, ended, image, order, until, vendor_image

Start = Callable[[], AbstractAsyncContextManager[Worker]]

OUTCOMES = {"received": "picture", "settled": "picture"}


async def counted(pool: asyncpg.Pool, name: str) -> Counter[tuple[str, ...]]:
    """What the tally has of this name, by those of its columns that say something."""
    found: Counter[tuple[str, ...]] = Counter()
    for row in await pool.fetch("SELECT * FROM tally WHERE name = $1", name):
        found[tuple(row[each] for each in ("provider", "model", "word", "kind") if row[each])] += row["count"]
    return found


async def added_up(pool: asyncpg.Pool, **how: int) -> int:
    """Everything that waits is in the tally; how much that was."""
    tally, total = Tally(pool, **how), 0
    while added := await tally.advance():
        total += added
    return total


async def assert_tally_is_the_book(pool: asyncpg.Pool) -> None:
    """Figures of calls and money, worked out once more from the rows."""
    calls = await pool.fetch(
        "SELECT a.*, i.status AS image_status FROM attempts a JOIN images i ON i.row_id = a.image_row_id"
        " WHERE a.status NOT IN ('sent', 'submitted')"
    )
    outcomes = Counter((c["provider"], c["model"], OUTCOMES.get(c["status"], c["status"])) for c in calls)
    assert await counted(pool, "attempts") - await counted(pool, "attempts_revised") == outcomes
    money: defaultdict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    is_open = ("queued", "processing", "generating", "uploading")
    for call in calls:
        who = (call["provider"],)
        if call["status"] == "unknown":
            money["uncertain"][who] += call["estimate_microusd"]
            continue
        money["cost"][who] += call["cost_microusd"] or 0
        if call["status"] != "settled" and not (call["status"] == "received" and call["image_status"] in is_open):
            money["wasted"][who] += call["cost_microusd"] or 0
    assert await counted(pool, "cost") == +money["cost"]
    assert await counted(pool, "wasted_cost") - await counted(pool, "recovered_cost") == +money["wasted"]
    assert await counted(pool, "uncertain_cost") - await counted(pool, "resolved_cost") == +money["uncertain"]


async def test_every_figure_is_what_the_engine_did(pool: asyncpg.Pool, start_worker: Start) -> None:
    scripts = {
        "good": "ok",
        "no": "refuse SAFETY",
        "vain": "no-image x1",
        "lost": "cut x1",
        "bad": "400",
        "where": "cut",
    }
    made = [vendor_image(name, script) for name, script in scripts.items()]
    first = await submit(pool, order(*made, image("draft")), run_limit_seconds=3600)
    second = await submit(pool, order(image("never", provider="gemini", model=GEMINI)), run_limit_seconds=3600)
    await cancel(pool, second.job_id, account=None, mode=CancelMode.FINISH)
    async with start_worker():
        for each in (first, second):
            await ended(pool, each.job_id)
    await added_up(pool)

    assert await counted(pool, "jobs") == {("partial",): 1, ("canceled",): 1}
    assert await counted(pool, "images") == {
        ("gemini", "completed"): 3,
        ("placeholder", "completed"): 1,
        ("gemini", "refused", "SAFETY"): 1,
        ("gemini", "failed", "PERMANENT"): 1,
        ("gemini", "uncertain", "UNKNOWN"): 1,
        ("gemini", "canceled"): 1,
    }
    assert await counted(pool, "attempts") == {
        ("gemini", GEMINI, "picture"): 3,
        ("gemini", GEMINI, "refused"): 1,
        ("gemini", GEMINI, "no_image"): 1,
        ("gemini", GEMINI, "unbilled"): 1,
        ("gemini", GEMINI, "unknown"): 3,
        ("placeholder", "placeholder-1", "picture"): 1,
    }
    assert (await counted(pool, "attempt_errors"))["gemini", "SAFETY"] == 1
    await assert_tally_is_the_book(pool)
    for name, images in (("queue_wait", 6), ("generation", 3), ("image", 3)):
        assert await counted(pool, name) == {("gemini",): images, ("placeholder",): 1}, name
    took = await pool.fetchval("SELECT sum(seconds) FROM tally WHERE name = 'generation'")
    calls = "SELECT sum(extract(epoch FROM ended_at - sent_at))::float8 FROM attempts WHERE status = 'settled'"
    assert abs(took - await pool.fetchval(calls)) < 0.001
    assert await pool.fetchval("SELECT count(*) FROM tally_notes") == 0


async def test_a_call_that_turns_out_late_is_taken_back_by_figures_of_its_own(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    asked = slow_image(on_uncertain=OnUncertain.HOLD)
    _, _, lease, attempt_id = await with_a_call_open(pool, queue, settings, asked)
    await pool.execute("UPDATE attempts SET status = 'unknown', cost_basis = 'unknown' WHERE id = $1", attempt_id)
    error = ImageError(kind=ErrorKind.UNKNOWN, code="OUTCOME_UNKNOWN", message="Lost.", billed=Billed.UNKNOWN)
    await settle.end(pool, lease, ImageStatus.UNCERTAIN, error)
    await added_up(pool)
    await assert_tally_is_the_book(pool)
    assert await counted(pool, "uncertain_cost") == {("placeholder",): 40_000}

    await provider_book.insert_receipt(pool, receipt_of(lease, attempt_id, picture()))
    await added_up(pool)

    await assert_tally_is_the_book(pool)
    assert await counted(pool, "resolved_cost") == {("placeholder",): 40_000}
    assert await counted(pool, "wasted_cost") == await counted(pool, "cost") == {("placeholder",): 33_600}
    assert await counted(pool, "attempts_revised") == {("placeholder", "placeholder-1", "unknown"): 1}


async def test_what_was_wasted_is_taken_back_when_a_retry_uses_it(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    job_id, _, lease, attempt_id = await with_a_call_open(pool, queue, settings, slow_image())
    await cancel(pool, job_id, account=None, mode=CancelMode.FINISH)
    await alone.receive(pool, lease, receipt_of(lease, attempt_id, picture()))
    await added_up(pool)
    assert await counted(pool, "wasted_cost") == {("placeholder",): 33_600}

    assert await retry(pool, job_id, account=None, run_limit_seconds=3600) == 1
    await added_up(pool)
    await assert_tally_is_the_book(pool)
    assert await counted(pool, "recovered_cost") == {("placeholder",): 33_600}
    assert await counted(pool, "wasted_cost") == {("placeholder",): 33_600}, "a counter never goes back"


async def end_some(pool: asyncpg.Pool, jobs: int) -> None:
    """Jobs and their images end by hand, each in its own transaction: two notes."""
    for _ in range(jobs):
        await ended_job(pool, events=1)


async def test_processes_that_add_at_once_count_nothing_twice(database: str, pool: asyncpg.Pool) -> None:
    other = await open_pool(database, min_size=1, max_size=3, application_name="tests other")
    try:
        tallies = [Tally(each, notes_at_once=3) for each in (pool, other) for _ in range(3)]
        ending = asyncio.create_task(end_some(pool, 20))
        added = 0
        while not ending.done() or await pool.fetchval("SELECT EXISTS (SELECT FROM tally_notes)"):
            added += sum(await asyncio.gather(*(each.advance() for each in tallies)))
    finally:
        await close_pool(other)
    assert added == 40
    assert await counted(pool, "jobs") == {("failed",): 20}
    assert await counted(pool, "images") == {("placeholder", "failed"): 20}


async def test_what_commits_late_is_counted_late_and_what_is_undone_is_not_counted(pool: asyncpg.Pool) -> None:
    jobs = [(await submit(pool, order(image("img")), run_limit_seconds=3600)).job_id for _ in range(3)]
    end = "UPDATE jobs SET status = 'failed' WHERE id = $1"
    async with pool.acquire() as slow, pool.acquire() as broken:
        late, undone = slow.transaction(), broken.transaction()
        await late.start()
        await undone.start()
        await slow.execute(end, jobs[0])
        await broken.execute(end, jobs[1])
        await pool.execute(end, jobs[2])
        assert await added_up(pool) == 1
        await undone.rollback()
        await late.commit()
    assert await added_up(pool) == 1
    assert await counted(pool, "jobs") == {("failed",): 2}


async def test_whoever_dies_while_adding_leaves_the_tally_and_the_notes_as_they_were(pool: asyncpg.Pool) -> None:
    await end_some(pool, 2)
    sql = load("tally")
    async with pool.acquire() as dying:
        await dying.execute("BEGIN")
        assert await dying.fetchval(sql.take_turn)
        assert await dying.fetchval(sql.advance, 100, list(BOUNDS_SECONDS), 5) == 4
        assert await Tally(pool).advance() == 0, "it is another one's turn"
        dying.terminate()
    await until(pool, "SELECT pg_try_advisory_lock(hashtext('safelight.tally'))")
    await pool.execute("SELECT pg_advisory_unlock_all()")
    await pool.expire_connections()
    assert await counted(pool, "jobs") == {}
    assert await added_up(pool) == 4
    assert await counted(pool, "jobs") == {("failed",): 2}


async def test_what_is_forgotten_stays_in_the_tally(pool: asyncpg.Pool) -> None:
    await end_some(pool, 2)
    await pass_time(pool, 91 * DAY)
    await added_up(pool)
    before = await pool.fetch("SELECT * FROM tally ORDER BY name")
    assert await forget_events(pool, older_than=KEEP) == 2
    await added_up(pool)
    assert await pool.fetch("SELECT * FROM tally ORDER BY name") == before


async def test_of_many_models_the_first_have_figures_of_their_own(pool: asyncpg.Pool) -> None:
    note = "INSERT INTO tally_notes (what, provider, model, was, became) VALUES ('call', 'p', $1, 'sent', 'unbilled')"
    for n in range(MODELS_PER_PROVIDER + 10):
        await pool.execute(note, f"model-{n:02}")
    await added_up(pool, notes_at_once=7)
    await pool.execute(note, "model-99")
    await added_up(pool)
    found = await counted(pool, "attempts")
    assert len(found) == MODELS_PER_PROVIDER + 1
    assert found["p", "other", "unbilled"] == 11


async def test_messages_are_counted_by_what_came_of_them(pool: asyncpg.Pool) -> None:
    await pool.execute(
        "INSERT INTO deliveries (account, endpoint_id, lane, type, created_at, wanted_at, due_at)"
        " SELECT 'a', 'whe_1', 'l', 't', t, t, t FROM generate_series(1, 3), LATERAL (SELECT safelight.now() AS t) AS x"
    )
    first, second, third = [row["id"] for row in await pool.fetch("SELECT id FROM deliveries ORDER BY id")]
    await pool.execute("UPDATE deliveries SET attempt_count = 1, error = 'no' WHERE id = ANY ($1)", [first, second])
    await pool.execute(
        "UPDATE deliveries SET attempt_count = 2, status = 'delivered', ended_at = wanted_at + interval '7 s'"
        " WHERE id = $1",
        first,
    )
    await pool.execute(
        "UPDATE deliveries SET attempt_count = 2, status = 'dead', ended_at = now() WHERE id = $1", second
    )
    await pool.execute("UPDATE deliveries SET status = 'dead', ended_at = now() WHERE id = $1", third)
    await added_up(pool)
    assert await counted(pool, "webhook_messages") == {("delivered",): 1, ("dead",): 2}
    assert await counted(pool, "webhook_failures") == {(): 3}
    [row] = await pool.fetch("SELECT * FROM tally WHERE name = 'webhook'")
    assert (row["le"], row["seconds"], row["count"]) == (10.0, 7.0, 1)


async def test_a_step_looks_at_what_is_new_however_much_there_is(pool: asyncpg.Pool) -> None:
    await fill(pool, jobs=2000, images=5)
    await end_some(pool, 20)
    async with pool.acquire() as conn, conn.transaction():
        explain = "EXPLAIN (ANALYZE, FORMAT JSON) " + load("tally").advance
        [row] = await conn.fetch(explain, 30, list(BOUNDS_SECONDS), 5)
    plan = [*nodes(orjson.loads(row[0])[0]["Plan"])]
    tables = {each.get("Relation Name") for each in plan if each["Node Type"] == "Seq Scan"}
    assert not tables & {"images", "jobs", "attempts", "events", "deliveries", "image_references"}
    rows: Counter[str] = Counter()
    for each in plan:
        rows[each.get("Relation Name", "")] += int(read(each)) if "Relation Name" in each else 0
    assert all(rows[table] <= 100 for table in ("images", "jobs", "attempts", "tally_notes")), rows
