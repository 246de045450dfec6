"""Every rule of alerts fires from what really stands in the database, is told once, and is over when that is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

from safelight.db.pool import close_pool, open_pool
from safelight.domain.alerts import Rule
from safelight.engine.pause import pause, resume
from safelight.engine.timing import Timing
from safelight.engine.upkeep.stuck import StuckWatch
from safelight.engine.watch.alert_figures import Looks
from tests.engine.alarms import BOUNDS, CANARY, Tower, beat, call, end_images, job_of
from tests.engine.by_hand import pass_time
from tests.engine.test_long_backlog import fill, nodes, read
from tests.engine.timetable import Office, at, daily, set_clock


@pytest.fixture
def tower(pool: asyncpg.Pool) -> Tower:
    return Tower(pool=pool)


async def texts(pool: asyncpg.Pool) -> str:
    return "\n".join(row["text"] for row in await pool.fetch("SELECT title || body AS text FROM alert_messages"))


async def test_nothing_is_told_of_an_installation_that_is_well(tower: Tower) -> None:
    await beat(tower.pool)
    assert await tower.look() == []
    assert await tower.shown() == []


async def test_too_few_pictures_are_told_over_all_and_by_provider_and_again_when_it_gets_worse(tower: Tower) -> None:
    tower, pool = tower.only("success_rate"), tower.pool
    mine = await job_of(pool, 30)
    others = await job_of(pool, 20, provider="gemini", model="m")
    await end_images(pool, others, "completed", first=0, last=19)
    await end_images(pool, mine, "failed", first=0, last=8, kind="TEMPORARY")
    assert await tower.look() == ["firing warning success_rate"], "nine are too few to judge a provider by"
    await end_images(pool, mine, "failed", first=9, last=9)
    assert await tower.look() == ["firing critical success_rate placeholder"]
    await end_images(pool, mine, "failed", first=10, last=22)
    assert await tower.look() == ["escalated critical success_rate"]
    assert "20 of 43 images that ended in the last 15 min got one: 46.5%, below 50%." in await texts(pool)
    assert CANARY not in await texts(pool)

    await pass_time(pool, 900)
    assert await tower.look() == [], "nothing has ended since: that says nothing"
    await end_images(pool, mine, "completed", first=10, last=29)
    assert await tower.until_over() == ["resolved critical success_rate", "resolved critical success_rate placeholder"]


async def test_one_failure_and_what_a_budget_or_a_caller_ended_are_no_alert(tower: Tower) -> None:
    tower = tower.only("success_rate")
    job_id = await job_of(tower.pool, 40)
    await end_images(tower.pool, job_id, "failed", first=0, last=0)
    await end_images(tower.pool, job_id, "failed", first=1, last=20, kind="BUDGET")
    await end_images(tower.pool, job_id, "refused", first=21, last=30)
    await end_images(tower.pool, job_id, "canceled", first=31, last=39)
    assert await tower.look() == []


async def test_what_nothing_is_heard_of_for_a_day_is_over(tower: Tower) -> None:
    tower = tower.only("success_rate")
    job_id = await job_of(tower.pool, 12)
    await end_images(tower.pool, job_id, "failed", first=0, last=11)
    assert len(await tower.look()) == 2
    assert await tower.look(after_seconds=86_000) == []
    assert await tower.look(after_seconds=500) == []
    assert len(await tower.look(after_seconds=300)) == 2


async def test_work_that_stands_still_is_told_with_its_job_and_is_over_when_it_moves(tower: Tower) -> None:
    tower, pool = tower.only("stuck", "no_worker"), tower.pool
    await beat(pool)
    job_id = await job_of(pool, 3)
    watch = StuckWatch(pool, BOUNDS, timing=Timing(stuck_seconds=600.0))
    for _ in range(11):
        await pass_time(pool, 61)
        await watch.look()
    assert await tower.look() == ["firing warning stuck placeholder"]
    [alert] = await tower.shown()
    assert alert.page == f"/dashboard/jobs/{job_id}"
    assert "3 images" in alert.found
    assert await tower.look(after_seconds=3000) == ["escalated critical stuck placeholder"]
    await pool.execute("UPDATE images SET status = 'canceled', completed_at = safelight.now()")
    assert await tower.until_over() == ["resolved critical stuck placeholder"]


async def test_work_without_a_worker_is_told_once_that_has_lasted_and_not_while_one_starts_again(tower: Tower) -> None:
    tower, pool = tower.only("stuck", "no_worker"), tower.pool
    await job_of(pool, 2)
    await pass_time(pool, 86_000)
    assert await tower.look() == [], "nobody knows since when there is no worker"
    assert await tower.look() == []
    assert await tower.look() == ["firing warning no_worker"]
    assert [alert.since for alert in await tower.shown()] < [alert.firing_since for alert in await tower.shown()]
    assert await tower.look(after_seconds=240) == ["escalated critical no_worker"]
    await beat(pool)
    assert await tower.until_over() == ["resolved critical no_worker"]

    await pool.execute("DELETE FROM workers")
    assert await tower.look() == []
    await beat(pool)
    assert await tower.look() == []
    await pool.execute("DELETE FROM workers")
    assert [await tower.look() for _ in range(2)] == [[], []], "it begins anew"


async def test_a_provider_that_stays_paused_is_told_and_one_that_recovers_at_once_is_not(tower: Tower) -> None:
    tower, pool = tower.only("provider_down"), tower.pool
    await pool.execute(
        "INSERT INTO gates (provider, model, code, message, shut_at, probe_at)"
        " VALUES ('gemini', '', 'HTTP_503', $1, safelight.now(), safelight.now())",
        CANARY,
    )
    assert await tower.look() == []
    assert await tower.look(after_seconds=300) == ["firing warning provider_down gemini"]
    assert await tower.look(after_seconds=1500) == ["escalated critical provider_down gemini"]
    assert "it last failed with HTTP_503" in await texts(pool)
    assert CANARY not in await texts(pool)
    await pool.execute("DELETE FROM gates")
    assert await tower.until_over() == ["resolved critical provider_down gemini"]


async def test_a_provider_that_nobody_wants_is_told_of_for_a_day(tower: Tower) -> None:
    tower, pool = tower.only("provider_down"), tower.pool
    gate = "INSERT INTO gates (provider, model, shut_at, probe_at) VALUES ($1, '', safelight.now(), safelight.now())"
    await pool.execute(gate, "gemini")
    await pool.execute(gate, "placeholder")
    await job_of(pool, 1)
    await tower.look(after_seconds=2000)
    assert "resolved critical provider_down gemini" in [
        *await tower.look(after_seconds=86_000),
        *await tower.look(after_seconds=300),
    ]
    assert [alert.subject for alert in await tower.shown() if not alert.resolved_at] == ["placeholder"]


async def test_a_pause_that_lasts_is_told(tower: Tower) -> None:
    tower = tower.only("queue_paused")
    await pause(tower.pool, reason=CANARY)
    assert await tower.look(after_seconds=3500) == []
    assert await tower.look(after_seconds=200) == ["firing warning queue_paused"]
    await resume(tower.pool)
    assert await tower.until_over() == ["resolved warning queue_paused"]


async def test_an_endpoint_that_takes_nothing_is_told_without_its_address_and_again_when_it_is_disabled(
    tower: Tower,
) -> None:
    tower, pool = tower.only("webhook"), tower.pool
    await pool.execute(
        "INSERT INTO webhook_endpoints (id, account, url, created_at, failing_since, failed_at)"
        " VALUES ('wh_1', 'shop', $1, safelight.now(), safelight.now(), safelight.now())",
        f"https://{CANARY}:secret@hooks.example:8443/in/{CANARY}?token={CANARY}",
    )
    assert await tower.look() == []
    assert await tower.look(after_seconds=3600) == ["firing warning webhook wh_1"]
    await pool.execute(
        "UPDATE webhook_endpoints SET disabled_at = safelight.now(), disabled_reason = 'it has taken nothing'"
    )
    assert await tower.look() == ["escalated critical webhook wh_1"]
    assert "to hooks.example:8443 do not arrive" in await texts(pool)
    assert CANARY not in await texts(pool)
    await pool.execute("UPDATE webhook_endpoints SET disabled_at = NULL, disabled_reason = NULL, failing_since = NULL")
    assert await tower.until_over() == ["resolved critical webhook wh_1"]


async def test_an_endpoint_that_fails_is_not_over_while_it_rests_for_as_long_as_it_asked_for(tower: Tower) -> None:
    tower, pool = tower.only("webhook"), tower.pool
    await pool.execute(
        "INSERT INTO webhook_endpoints (id, account, url, retry_seconds, created_at, failing_since, failed_at) VALUES"
        " ('wh_1', 'shop', 'https://a.example/', '{5, 604800}', safelight.now(), safelight.now(), safelight.now())"
    )
    assert await tower.look(after_seconds=3600) == ["firing warning webhook wh_1"]
    told = [await tower.look(after_seconds=12 * 3600) for _ in range(8)]
    assert {each for one in told for each in one} == {"reminder warning webhook wh_1"}


async def test_a_budget_that_is_used_is_told_at_four_fifths_and_when_it_is_out_and_is_over_with_the_day(
    tower: Tower,
) -> None:
    tower, pool = tower.only("budget"), tower.pool
    await set_clock(pool, at("2026-11-20 12:00", "UTC"))
    await pool.execute("UPDATE accounts SET daily_budget_microusd = 1000000 WHERE id = 'default'")
    await pool.execute("INSERT INTO account_days (account, day) VALUES ('default', today())")
    spend = "UPDATE account_days SET spent_microusd = $1"
    await pool.execute(spend, 600_000)
    assert await tower.look() == [], "half of it is told as an event, and is no alert"
    await pool.execute(spend, 850_000)
    assert await tower.look() == ["firing warning budget default"]
    await pool.execute(spend, 1_000_000)
    assert await tower.look() == ["escalated critical budget default"]
    assert "$1.000 of $1.000 are spent or set aside: 100 % (critical from 100 % on)" in await texts(pool)
    assert await tower.look(after_seconds=43_200) == []
    assert await tower.look(after_seconds=300) == ["resolved critical budget default"]


async def test_calls_whose_outcome_nobody_knows_are_told_after_a_day_until_a_week_has_passed(tower: Tower) -> None:
    tower, pool = tower.only("uncertain_spend"), tower.pool
    await call(pool, await job_of(pool, 1), "unknown")
    assert await tower.look(after_seconds=86_000) == []
    assert await tower.look(after_seconds=1000) == ["firing warning uncertain_spend placeholder"]
    assert "1 call lost the outcome" in await texts(pool)
    assert "at most $0.040" in await texts(pool)
    assert await tower.look(after_seconds=14_400) == [], "this one is told again once a day"
    assert await tower.look(after_seconds=86_400) == ["reminder warning uncertain_spend placeholder"]
    await pass_time(pool, 6 * 86_400)
    assert await tower.until_over() == ["resolved warning uncertain_spend placeholder"]


async def test_a_schedule_at_risk_is_told_gets_worse_when_it_is_late_and_is_over_when_its_pictures_are_there(
    tower: Tower,
) -> None:
    tower, pool = tower.only("schedule_at_risk"), tower.pool
    office = Office(pool=pool)
    schedule_id = await office.open(daily(ready_by="00:00", job={"metadata": {"a": CANARY}}), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00", "2026-11-20 23:51")
    assert await tower.look() == [f"firing warning schedule_at_risk {schedule_id}"]
    [alert] = await tower.shown()
    job_id = await pool.fetchval("SELECT id FROM jobs")
    assert alert.page == f"/dashboard/jobs/{job_id}"
    assert CANARY not in await texts(pool)
    await pool.execute("UPDATE jobs SET status = 'completed', completed_at = safelight.now()")
    assert await tower.until_over() == [f"resolved warning schedule_at_risk {schedule_id}"]


@pytest.mark.parametrize("ready_by", [None, "00:00"])
async def test_a_schedule_whose_job_is_refused_is_told_and_keeps_nothing_else_from_being_told(
    ready_by: str | None, tower: Tower
) -> None:
    tower, pool = tower.only("schedule_at_risk", "queue_paused"), tower.pool
    office = Office(pool=pool)
    job = {"refuse": "The model is gone.", "metadata": {"a": CANARY}}
    schedule_id = await office.open(daily(ready_by=ready_by, job=job), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00")
    await pause(pool, reason="x")
    assert await tower.look() == [f"firing critical schedule_at_risk {schedule_id}"]
    told = await texts(pool)
    assert "No job could be made for its pictures" in told
    assert ("they are wanted by 2026-11-20 23:00 UTC" in told) == (ready_by is not None)
    assert CANARY not in told
    assert await tower.look(after_seconds=3700) == ["firing warning queue_paused"]
    await pool.execute("UPDATE schedules SET job = '{}'")
    await office.process().run_now(schedule_id, account="default", request_key=None)
    await pool.execute("UPDATE jobs SET status = 'completed', completed_at = safelight.now()")
    assert await tower.until_over() == [f"resolved critical schedule_at_risk {schedule_id}"]


async def test_paid_pictures_that_lie_on_one_host_alone_are_told(tower: Tower) -> None:
    tower, pool = tower.only("stranded"), tower.pool
    await call(pool, await job_of(pool, 1), "received", stranded_in="host-1:/staging")
    assert await tower.look() == []
    assert await tower.look(after_seconds=3600) == ["firing warning stranded host-1:/staging"]
    await pool.execute("UPDATE attempts SET stranded_in = NULL")
    assert await tower.until_over() == ["resolved warning stranded host-1:/staging"]


async def test_what_goes_on_is_told_again_after_a_while(tower: Tower) -> None:
    tower = tower.only("queue_paused")
    await pause(tower.pool, reason="x")
    await tower.look(after_seconds=3700)
    assert await tower.look(after_seconds=14_000) == []
    assert await tower.look(after_seconds=500) == ["reminder warning queue_paused"]
    assert await tower.look() == []


async def test_what_comes_and_goes_is_told_once(tower: Tower) -> None:
    tower = tower.only("queue_paused")
    await pause(tower.pool, reason="x")
    told = await tower.look(after_seconds=3700)
    for _ in range(3):
        await resume(tower.pool)
        told += [*await tower.look(), *await tower.look(after_seconds=200)]
        await pause(tower.pool, reason="x")
        await tower.pool.execute("UPDATE installation SET paused_at = safelight.now() - interval '2 hours'")
        told += await tower.look()
    assert told == ["firing warning queue_paused"]


async def test_a_rule_that_is_turned_off_says_no_more(tower: Tower) -> None:
    await pause(tower.pool, reason="x")
    assert len(await tower.only("queue_paused").look(after_seconds=3700)) == 1
    assert await tower.only("budget").look() == []
    assert [alert.resolved_at is not None for alert in await tower.shown()] == [True]


async def test_a_storm_is_told_of_in_one_line_beyond_the_first(tower: Tower) -> None:
    tower, pool = tower.only("webhook"), tower.pool
    await pool.execute(
        "INSERT INTO webhook_endpoints (id, account, url, created_at, failing_since, failed_at)"
        " SELECT 'wh_' || n, 'shop', 'https://h.example/' || n, now(), now() - interval '2 h', now()"
        " FROM generate_series(1, 50) AS n"
    )
    assert len(await tower.look()) == 21
    assert "30 more" in await texts(pool)
    assert await tower.look() == []


async def test_many_processes_that_look_at_once_tell_it_once(tower: Tower, database: str) -> None:
    await pause(tower.pool, reason="x")
    await pass_time(tower.pool, 3700)
    others = [await open_pool(database, min_size=1, max_size=2, application_name="tests other") for _ in range(2)]
    try:
        watches = [tower.watch(pool) for pool in (tower.pool, *others) for _ in range(2)]
        looked = await asyncio.gather(*(watch.look() for watch in watches))
    finally:
        for pool in others:
            await close_pool(pool)
    assert sorted(each for each in looked if each is not None) == [1]
    assert await tower.pool.fetchval("SELECT count(*) FROM alert_messages") == 1


async def test_a_rule_whose_figures_cannot_be_read_keeps_no_other_from_being_told(tower: Tower) -> None:
    await pause(tower.pool, reason="x")
    tower = tower.only("queue_paused", "stranded")
    await call(tower.pool, await job_of(tower.pool, 1), "received", stranded_in="host-1")
    assert await tower.look(after_seconds=3700) == ["firing warning queue_paused", "firing warning stranded host-1"]
    await resume(tower.pool)
    await tower.pool.execute("ALTER TABLE attempts RENAME COLUMN stranded_in TO gone")
    assert await tower.until_over() == ["resolved warning queue_paused"], "of the other nothing is known"
    assert [alert.rule for alert in await tower.shown() if not alert.resolved_at] == [Rule.STRANDED]


async def test_what_seemed_to_be_over_is_not_told_as_such_while_its_figures_cannot_be_read(tower: Tower) -> None:
    tower, pool = tower.only("stranded"), tower.pool
    await call(pool, await job_of(pool, 1), "received", stranded_in="host-1")
    assert await tower.look(after_seconds=3700) == ["firing warning stranded host-1"]
    await pool.execute("UPDATE attempts SET stranded_in = NULL")
    assert await tower.look() == []
    await pool.execute("UPDATE attempts SET stranded_in = 'host-1'")
    await pool.execute("ALTER TABLE attempts RENAME COLUMN stranded_in TO gone")
    assert await tower.until_over() == []
    await pool.execute("ALTER TABLE attempts RENAME COLUMN gone TO stranded_in")
    assert await tower.look() == []
    await pool.execute("UPDATE attempts SET stranded_in = NULL")
    assert await tower.until_over() == ["resolved warning stranded host-1"]


async def test_what_is_decided_and_the_message_about_it_are_written_together_or_not_at_all(tower: Tower) -> None:
    await pause(tower.pool, reason="x")
    await pass_time(tower.pool, 3700)
    await tower.pool.execute("ALTER TABLE alert_messages RENAME TO gone")
    with pytest.raises(asyncpg.UndefinedTableError):
        await tower.watch().look()
    assert await tower.shown() == []
    await tower.pool.execute("ALTER TABLE gone RENAME TO alert_messages")
    assert await tower.look() == ["firing warning queue_paused"]


async def test_old_alerts_go(tower: Tower) -> None:
    tower = tower.only("queue_paused")
    await pause(tower.pool, reason="x")
    await tower.look(after_seconds=3700)
    await resume(tower.pool)
    await tower.until_over()
    await tower.look(after_seconds=31 * 86_400)
    assert await tower.pool.fetchval("SELECT count(*) FROM alerts") == 0
    assert await tower.pool.fetchval("SELECT count(*) FROM alert_messages") == 0


class Explained:
    """In place of a connection: explains every question before it asks it."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self.conn = conn
        self.plans: dict[str, list[dict[str, Any]]] = {}

    def transaction(self) -> Any:
        return self.conn.transaction()

    async def fetch(self, statement: str, *args: Any) -> list[Any]:
        rows = await self.conn.fetch("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, *args)
        name = statement.partition("\n")[0].removeprefix("-- name: ")
        self.plans[name] = list(nodes(orjson.loads(rows[0][0])[0]["Plan"]))
        return await self.conn.fetch(statement, *args)


async def fill_history(pool: asyncpg.Pool, images: int) -> None:
    """So many that have ended, one each ten seconds, with a call each; and endpoints that are well."""
    await fill(pool, jobs=1, images=1)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SET LOCAL session_replication_role = replica; SET LOCAL statement_timeout = 0")
        await conn.execute(
            "INSERT INTO images (job_id, position, id, image_group, provider, model, prompt, options, fingerprint,"
            " timeout_seconds, max_attempts, max_rebuys, on_uncertain, not_before, created_at, changed_at, status,"
            " completed_at, error) SELECT job_id, n, 'e-' || n, '', provider, model, '', '{}', 'f', 60, 3, 1, 'hold',"
            " now(), now(), now(), CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'completed' END,"
            " now() - n * interval '10 s', '{}' FROM images, generate_series(1, $1) AS n",
            images,
            timeout=60,
        )
        await conn.execute(
            "INSERT INTO attempts (id, image_row_id, number, run, status, provider, model, fingerprint, claim_token,"
            " worker_id, sent_at, deadline_at, resolve_at) SELECT 'att_' || row_id, row_id, 1, 1, 'settled', provider,"
            " model, '', gen_random_uuid(), gen_random_uuid(), completed_at, completed_at, completed_at"
            " FROM images WHERE completed_at IS NOT NULL",
            timeout=60,
        )
        await conn.execute(
            "INSERT INTO webhook_endpoints (id, account, url, created_at)"
            " SELECT 'wh_' || n, 'a', 'https://h.example/' || n, now() FROM generate_series(1, 3000) AS n"
        )
        await conn.execute("DELETE FROM images WHERE status = 'queued'")
    await pool.execute("ANALYZE", timeout=60)


@pytest.mark.parametrize("images", [5000, pytest.param(100_000, marks=pytest.mark.slow)])
async def test_a_look_walks_no_table_that_grows(images: int, tower: Tower) -> None:
    pool = tower.pool
    await fill_history(pool, images)
    async with pool.acquire() as conn:
        explained = Explained(conn)  # pyright: ignore[reportArgumentType]
        now = await conn.fetchval("SELECT safelight.now()")
        found, _ = await Looks(BOUNDS, lease_seconds=15.0).findings(explained, {}, policy=tower.policy, now=now)
    assert found == {}
    assert len(explained.plans) == 9
    for name, plan in explained.plans.items():
        walked = {node["Relation Name"]: read(node) for node in plan if "Relation Name" in node}
        big = {table: rows for table, rows in walked.items() if table in ("images", "attempts", "webhook_endpoints")}
        assert all(rows <= 200 for rows in big.values()), (name, walked)
