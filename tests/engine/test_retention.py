"""Logs of jobs that ended long ago are forgotten, from the front, a bounded number at a time, and no others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import asyncpg
import orjson
import pytest

from safelight.db.statements import load
from safelight.domain.events import EventType
from safelight.domain.ids import JobId
from safelight.engine.image.journal import append_event, locked_job
from safelight.engine.orders.control import retry
from safelight.engine.orders.submit import submit
from safelight.engine.queue.sweep import Findings, sweep
from safelight.engine.timing import Timing
from safelight.engine.upkeep.retention import forget_events
from safelight.settings import Settings
from safelight.storage.local_staging import LocalStaging
from tests.engine.by_hand import pass_time, staging_of
from tests.engine.test_long_backlog import fill, nodes, read
from tests.orders import image, job_row, order

DAY = 86_400.0
KEEP = timedelta(days=90)
ENDED = (
    "UPDATE images SET status = 'failed', completed_at = safelight.now() WHERE status = 'queued'",
    "UPDATE jobs SET status = 'failed', completed_at = safelight.now() WHERE status IN ('pending', 'generating')",
)


async def ended_job(pool: asyncpg.Pool, *, events: int = 3) -> JobId:
    accepted = await submit(pool, order(image("img")), run_limit_seconds=3600)
    async with locked_job(pool, accepted.job_id) as (conn, _job):
        for _ in range(events - 1):
            await append_event(conn, accepted.job_id, EventType.IMAGE_RETRYING, image_id="img")
    for statement in ENDED:
        await pool.execute(statement)
    return accepted.job_id


async def seqs(pool: asyncpg.Pool, job_id: JobId) -> list[int]:
    return [row["seq"] for row in await pool.fetch("SELECT seq FROM events WHERE job_id = $1 ORDER BY seq", job_id)]


async def test_the_log_of_a_job_that_ended_long_ago_is_forgotten_and_the_job_is_not(pool: asyncpg.Pool) -> None:
    job_id = await ended_job(pool)
    await pass_time(pool, 89 * DAY)
    assert await forget_events(pool, older_than=KEEP) == 0
    await pass_time(pool, 2 * DAY)
    assert await forget_events(pool, older_than=KEEP) == 3
    assert await seqs(pool, job_id) == []
    row = await job_row(pool, job_id)
    assert (row["status"], row["seq"]) == ("failed", 3)
    assert await forget_events(pool, older_than=KEEP) == 0


async def test_a_later_run_goes_on_counting_and_is_forgotten_in_its_turn(pool: asyncpg.Pool) -> None:
    job_id = await ended_job(pool)
    await pass_time(pool, 91 * DAY)
    assert await forget_events(pool, older_than=KEEP) == 3
    assert await retry(pool, job_id, account="default", run_limit_seconds=3600) == 1
    await pass_time(pool, 91 * DAY)
    assert await forget_events(pool, older_than=KEEP) == 0, "the job is live again"
    for statement in ENDED:
        await pool.execute(statement)
    assert await forget_events(pool, older_than=KEEP) == 0
    assert await seqs(pool, job_id) == [4]
    await pass_time(pool, 91 * DAY)
    assert await forget_events(pool, older_than=KEEP) == 1


@pytest.mark.parametrize(
    "reason",
    [
        "UPDATE jobs SET status = 'generating', completed_at = NULL",
        "UPDATE events SET created_at = safelight.now() WHERE seq = 3",
        "INSERT INTO deliveries (account, endpoint_id, lane, type, job_id, seq, created_at, wanted_at, due_at)"
        " SELECT account, 'whe_1', id, 'job.failed', id, 3, now(), now(), now() FROM jobs",
    ],
    ids=["it is live", "its newest event is young", "a message about it waits"],
)
async def test_the_log_of_a_job_that_is_still_wanted_stays_whole(reason: str, pool: asyncpg.Pool) -> None:
    job_id = await ended_job(pool)
    await pass_time(pool, 91 * DAY)
    await pool.execute(reason)
    assert await forget_events(pool, older_than=KEEP) == 0
    assert await seqs(pool, job_id) == [1, 2, 3]


async def test_a_job_that_is_in_use_is_left_for_later_and_nobody_waits(pool: asyncpg.Pool) -> None:
    used, other = await ended_job(pool), await ended_job(pool)
    await pass_time(pool, 91 * DAY)
    async with locked_job(pool, used):
        assert await forget_events(pool, older_than=KEEP) == 3
        assert (await seqs(pool, used), await seqs(pool, other)) == ([1, 2, 3], [])
    assert await forget_events(pool, older_than=KEEP) == 3


async def test_a_long_log_goes_from_the_front_and_a_sweep_takes_no_more_than_it_may(
    pool: asyncpg.Pool, queue: asyncpg.Pool, settings: Settings
) -> None:
    job_id = await ended_job(pool)
    await pool.execute(
        "INSERT INTO events (job_id, seq, account, type, data, created_at)"
        " SELECT id, n, account, 'image.retrying', '{}', now() FROM jobs, generate_series(4, 4500) AS n"
    )
    await pool.execute("UPDATE jobs SET seq = 4500")
    await pass_time(pool, 91 * DAY)
    left: list[tuple[int, int | None]] = []
    for _ in range(4):
        await sweep(pool, queue, staging_of(settings), timing=Timing())
        now_left = await seqs(pool, job_id)
        assert now_left == list(range(4501 - len(now_left), 4501)), "what is left has no gap"
        left.append((len(now_left), now_left[0] if now_left else None))
    assert left == [(2500, 2001), (500, 4001), (0, None), (0, None)]


async def test_jobs_whose_log_is_gone_are_not_looked_at_again(pool: asyncpg.Pool) -> None:
    await fill(pool, jobs=999, images=1)
    await pool.execute("UPDATE jobs SET status = 'completed', completed_at = now(), log_cut_at = now()")
    await pass_time(pool, 91 * DAY)
    await pool.execute("ANALYZE")
    [row] = await pool.fetch("EXPLAIN (ANALYZE, FORMAT JSON) " + load("retention").forget_events, KEEP, 2000)
    plan = orjson.loads(row[0])[0]["Plan"]
    assert sum(read(node) for node in nodes(plan) if node.get("Relation Name") == "jobs") < 5


async def test_the_log_of_dispatch_is_forgotten_in_steps_however_much_of_it_has_come_together(
    pool: asyncpg.Pool, queue: asyncpg.Pool, tmp_path: Path
) -> None:
    """As after days in which nobody swept: all at once it would take longer than a statement may, each time anew."""
    await pool.execute("CREATE TABLE steps (n bigint)")
    await pool.execute(
        "CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO steps SELECT count(*) FROM gone; RETURN NULL; END $$"
    )
    await pool.execute(
        "CREATE TRIGGER note_step AFTER DELETE ON pgqueuer_log REFERENCING OLD TABLE AS gone"
        " FOR EACH STATEMENT EXECUTE FUNCTION note_step()"
    )
    await pool.execute(
        "INSERT INTO pgqueuer_log (created, job_id, status, priority, entrypoint)"
        " SELECT now() - make_interval(days => 2 * (n % 2)), n, 'queued', 0, 'finish'"
        " FROM generate_series(1, 50000) AS n"
    )
    assert await sweep(pool, queue, LocalStaging(tmp_path), timing=Timing()) == Findings()
    assert await pool.fetchval("SELECT count(*) FROM pgqueuer_log") == 25_000
    assert await pool.fetchval("SELECT max(n) FROM steps") <= 10_000


async def test_what_cannot_be_forgotten_keeps_nothing_else_from_being_forgotten(
    pool: asyncpg.Pool, queue: asyncpg.Pool, tmp_path: Path
) -> None:
    await pool.execute(
        "INSERT INTO notices (at, type, provider, model, data)"
        " VALUES (now() - interval '1 year', 'provider.paused', 'p', '', '{}')"
    )
    await pool.execute("DROP TABLE pgqueuer_log")
    assert await sweep(pool, queue, LocalStaging(tmp_path), timing=Timing()) == Findings()
    assert await pool.fetchval("SELECT count(*) FROM notices") == 0
