"""Jobs come when their time has come: one for each run, whatever breaks in between."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
import pytest

from safelight.db.statements import load
from safelight.domain.checkup import Verdict
from safelight.domain.errors import InvalidRequest
from safelight.domain.recurrence import CatchUp
from safelight.engine.schedules import timetable
from safelight.engine.schedules.checkup import schedule_check
from safelight.engine.schedules.due import KEPT_RUNS, Schedules
from tests.engine.by_hand import pass_time
from tests.engine.timetable import ACCOUNT, Office, at, daily, set_clock


@pytest.fixture
def office(pool: asyncpg.Pool) -> Office:
    return Office(pool=pool)


BREAK = "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END'"


async def test_a_time_that_has_come_makes_one_job(office: Office, pool: asyncpg.Pool) -> None:
    await office.open(daily(job={"metadata": {"case": "case-{date}"}}), since="2026-11-20 09:00")
    assert await office.next_run() == "11-20 18:00"
    await office.tick_at("2026-11-20 17:59:59")
    assert await office.jobs() == []

    await office.tick_at("2026-11-20 18:00:02", "2026-11-20 18:00:04", "2026-11-20 18:05:00")

    assert await office.runs() == [("11-20 18:00", "submitted")]
    assert await office.next_run() == "11-21 18:00"
    [job] = await pool.fetch("SELECT * FROM jobs")
    assert job["metadata"] == {"case": "case-2026-11-20"}
    assert await pool.fetchval("SELECT job_id FROM schedule_runs") == job["id"]


async def test_processes_that_tick_at_once_make_one_job_a_run(office: Office, pool: asyncpg.Pool) -> None:
    for name in ("one", "two", "three"):
        await office.open(daily(name), since="2026-11-20 09:00")
    await set_clock(pool, at("2026-11-20 18:00:01"))
    processes = [office.process() for _ in range(4)]
    await asyncio.gather(*(each.tick() for each in processes * 3))
    assert len(await office.jobs()) == 3
    assert await office.runs() == [("11-20 18:00", "submitted")] * 3


@pytest.mark.parametrize(
    ("step", "trigger", "jobs_after"),
    [
        ("before runs are written down", "BEFORE INSERT ON schedule_runs FOR EACH ROW", 0),
        ("before its job is made", "BEFORE INSERT ON jobs FOR EACH ROW", 0),
        (
            "before the run knows its job",
            "BEFORE UPDATE ON schedule_runs FOR EACH ROW WHEN (NEW.job_id IS NOT NULL)",
            1,
        ),
    ],
)
async def test_what_breaks_off_is_taken_up_again_without_doing_anything_twice(
    office: Office, pool: asyncpg.Pool, step: str, trigger: str, jobs_after: int
) -> None:
    schedule_id = await office.open(daily(), since="2026-11-20 09:00")
    await pool.execute(BREAK)
    await pool.execute(f"CREATE TRIGGER fail {trigger} EXECUTE FUNCTION fail()")
    await set_clock(pool, at("2026-11-20 18:00:01"))
    with suppress(asyncpg.RaiseError):
        await office.process().tick()
    assert len(await office.jobs()) == jobs_after, step
    await pool.execute("DROP FUNCTION fail CASCADE")
    await timetable.change(pool, schedule_id, {"job": {"metadata": {"changed": "since"}}}, account=ACCOUNT)

    await pass_time(pool, 60)
    await office.process().tick()

    assert await office.runs() == [("11-20 18:00", "submitted")]
    assert len(await office.jobs()) == 1
    assert await office.next_run() == "11-21 18:00"


@pytest.mark.parametrize(("before", "after"), [(None, "day"), ("day", None)])
async def test_a_rule_that_changes_before_the_run_knows_its_job_makes_no_second_one(
    office: Office, pool: asyncpg.Pool, before: str | None, after: str | None
) -> None:
    schedule_id = await office.open(daily(unique_per=before), since="2026-11-20 09:00")
    await pool.execute(BREAK)
    record = "BEFORE UPDATE ON schedule_runs FOR EACH ROW WHEN (NEW.job_id IS NOT NULL)"
    await pool.execute(f"CREATE TRIGGER fail {record} EXECUTE FUNCTION fail()")
    await set_clock(pool, at("2026-11-20 18:00:01"))
    await office.process().tick()
    await pool.execute("DROP FUNCTION fail CASCADE")
    await timetable.change(pool, schedule_id, {"unique_per": after}, account=ACCOUNT)

    await pass_time(pool, 60)
    await office.process().tick()

    assert await office.runs() == [("11-20 18:00", "submitted")]
    assert len(await office.jobs()) == 1


async def test_a_rule_that_is_lifted_leaves_every_run_a_job_of_its_own(office: Office, pool: asyncpg.Pool) -> None:
    schedule_id = await office.open(daily(cron="0 */6 * * *", unique_per="day"), since="2026-11-20 05:00")
    await office.tick_at("2026-11-20 06:00")
    await timetable.change(pool, schedule_id, {"unique_per": None}, account=ACCOUNT)
    await office.tick_at("2026-11-20 12:00", "2026-11-20 18:00")
    assert len(await office.jobs()) == 3
    assert [status for _, status in await office.runs()] == ["submitted"] * 3


async def test_a_schedule_that_is_disabled_while_its_job_is_being_made_shows_that_job(
    office: Office, pool: asyncpg.Pool
) -> None:
    await office.open(daily(), since="2026-11-20 09:00")
    await pool.execute(
        "CREATE FUNCTION disable() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN UPDATE schedule_runs SET status = ''skipped'' WHERE status = ''due''; RETURN NULL; END'"
    )
    await pool.execute("CREATE TRIGGER disable AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION disable()")
    await office.tick_at("2026-11-20 18:00")
    assert (len(await office.jobs()), await office.runs()) == (1, [("11-20 18:00", "submitted")])


async def test_a_process_that_is_stopped_in_mid_run_leaves_it_to_the_next(office: Office, pool: asyncpg.Pool) -> None:
    await office.open(daily(), since="2026-11-20 09:00")
    await set_clock(pool, at("2026-11-20 18:00:01"))

    def stopped(*_: object, **__: object) -> object:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await Schedules(pool, stopped, run_limit_seconds=3600.0).tick()  # pyright: ignore[reportArgumentType]
    assert await office.runs() == [("11-20 18:00", "due")]

    await office.process().tick()
    assert await office.runs() == [("11-20 18:00", "submitted")]


async def test_a_day_has_one_job_whoever_asks_for_it(office: Office, pool: asyncpg.Pool) -> None:
    schedule_id = await office.open(daily(cron="0 */6 * * *", unique_per="day"), since="2026-11-20 05:00")
    process = office.process()
    await office.tick_at("2026-11-20 06:00")
    await timetable.change(pool, schedule_id, {"job": {"refuse": "it is retired"}}, account=ACCOUNT)
    await process.run_now(schedule_id, account=ACCOUNT, request_key=None)
    await office.tick_at("2026-11-20 12:00", "2026-11-20 18:00")
    assert len(await office.jobs()) == 1

    await timetable.change(pool, schedule_id, {"job": {}}, account=ACCOUNT)
    await office.tick_at("2026-11-21 00:00")
    assert len(await office.jobs()) == 2
    assert [status for _, status in await office.runs()] == ["submitted", "joined", "joined", "joined", "submitted"]


async def test_without_such_a_rule_each_run_has_its_own(office: Office) -> None:
    schedule_id = await office.open(daily(cron="@hourly"), since="2026-11-20 05:30")
    await office.tick_at("2026-11-20 06:00", "2026-11-20 07:00")
    for _ in range(2):
        await office.process().run_now(schedule_id, account=ACCOUNT, request_key=None)
    assert len(set(await office.jobs())) == 4


async def test_asking_twice_under_one_key_is_asking_once(office: Office) -> None:
    schedule_id = await office.open(daily(), since="2026-11-20 05:30")
    asked = [office.process().run_now(schedule_id, account=ACCOUNT, request_key="mine") for _ in range(5)]
    numbers = {run_id for run_id, _ in await asyncio.gather(*asked)}
    assert len(numbers) == len(await office.jobs()) == 1


async def test_a_run_whose_asker_is_gone_is_made_by_a_tick(office: Office, pool: asyncpg.Pool) -> None:
    schedule_id = await office.open(daily(), since="2026-11-20 05:30")
    terms, now = await timetable.terms_of(pool, schedule_id, account=ACCOUNT)
    await timetable.ask_for_run(pool, schedule_id, terms, now, request_key=None)
    await office.process().tick()
    assert await office.jobs() == [], "whoever asked is given some time"

    await pass_time(pool, 11)
    await office.process().tick()
    assert len(await office.jobs()) == 1


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        (CatchUp.SKIP, [("11-20 18:00", "submitted"), ("11-24 18:00", "skipped"), ("11-25 18:00", "submitted")]),
        (CatchUp.LATEST, [("11-20 18:00", "submitted"), ("11-24 18:00", "submitted"), ("11-25 18:00", "submitted")]),
        (CatchUp.ALL, [(f"11-{day} 18:00", "submitted") for day in range(20, 26)]),
    ],
)
async def test_downtime_is_caught_up_with_as_the_schedule_says(
    office: Office, catch_up: CatchUp, expected: list[tuple[str, str]]
) -> None:
    await office.open(daily(catch_up=catch_up, unique_per="day"), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00", "2026-11-25 09:00", "2026-11-25 18:00")
    assert await office.runs() == expected
    assert len(await office.jobs()) == sum(status == "submitted" for _, status in expected)


async def test_no_more_than_a_hundred_missed_times_are_made_up_for(office: Office) -> None:
    await office.open(daily(cron="* * * * *", catch_up=CatchUp.ALL), since="2026-11-20 09:00")
    await office.tick_at("2026-11-21 09:00:30", "2026-11-21 09:00:40")
    runs = await office.runs()
    assert (len(runs), runs[0][0], runs[-1][0]) == (100, "11-21 07:21", "11-21 09:00")
    assert len(await office.jobs()) == 100


async def test_a_refused_template_fails_its_run_in_words_and_tells_somebody(office: Office, pool: asyncpg.Pool) -> None:
    schedule_id = await office.open(daily(job={"refuse": "The model is gone."}), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00", "2026-11-20 18:01")

    assert await office.runs() == [("11-20 18:00", "failed")]
    assert len(office.desk.documents) == 1, "nothing is tried again and again"
    run = await pool.fetchrow("SELECT * FROM schedule_runs")
    assert run is not None
    assert (run["detail"], run["at_risk_reason"]) == ("The model is gone.", "not_submitted")
    assert run["faults"] == [{"pointer": "/defaults/model", "detail": "was retired"}]
    [notice] = await office.notices()
    assert (notice["type"], notice["account"], notice["provider"]) == ("schedule.at_risk", ACCOUNT, None)
    assert notice["message"] == "no job could be made: The model is gone."
    assert (notice["data"]["schedule"], notice["data"]["schedule_id"]) == ("daily", schedule_id)

    with pytest.raises(InvalidRequest):
        await office.process().run_now(schedule_id, account=ACCOUNT, request_key="mine")
    assert len(await office.runs()) == 1, "whoever asks hears it, and may ask again under the same key"


async def test_a_run_that_breaks_holds_up_no_other_and_is_given_up_in_the_end(
    office: Office, pool: asyncpg.Pool
) -> None:
    await office.open(daily("broken", job={"breaks": "a bug"}), since="2026-11-20 09:00")
    await office.open(daily("sound"), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00")
    assert await office.runs() == [("11-20 18:00", "due"), ("11-20 18:00", "submitted")]

    for seconds in (4, 2, 9, 2):
        await pass_time(pool, seconds)
        await office.process().tick()
    assert len(office.desk.documents) == 1 + 3, "tried after 5 s, then after 10"
    await pool.execute("UPDATE schedule_runs SET tries = 9 WHERE status = 'due'")
    for _ in range(2):
        await pass_time(pool, 301)
        await office.process().tick()
    assert await office.runs() == [("11-20 18:00", "failed"), ("11-20 18:00", "submitted")]
    assert len(office.desk.documents) == 1 + 4
    assert len(await office.notices()) == 1


@pytest.mark.parametrize("trouble", [TimeoutError(), PermissionError("recipes"), asyncpg.QueryCanceledError()])
async def test_a_run_that_cannot_be_made_just_now_holds_up_no_other_and_is_made_later(
    office: Office, pool: asyncpg.Pool, trouble: Exception
) -> None:
    await office.open(daily("held up", job={"meets": "trouble"}, ready_by="18:05"), since="2026-11-20 09:00")
    await office.open(daily("sound"), since="2026-11-20 09:00")
    office.desk.trouble = trouble
    await office.tick_at("2026-11-20 18:00")
    assert await office.runs() == [("11-20 18:00", "due"), ("11-20 18:00", "submitted")]
    assert [notice["data"]["reason"] for notice in await office.notices()] == ["short"]

    for _ in range(20):
        await pass_time(pool, 6)
        await office.process().tick()
    office.desk.trouble = None
    await pass_time(pool, 6)
    await office.process().tick()
    assert await office.runs() == [("11-20 18:00", "submitted")] * 2, "however long it takes"


async def test_a_zone_that_is_not_known_any_more_fails_the_run_and_stops_nothing(
    office: Office, pool: asyncpg.Pool
) -> None:
    await office.open(daily(), since="2026-11-20 09:00")
    await pool.execute("UPDATE schedules SET timezone = 'Atlantis/Capital'")
    await set_clock(pool, at("2026-11-20 18:00"))
    await office.process().tick()
    assert await pool.fetchval("SELECT status FROM schedule_runs") == "failed"
    assert "no such time zone" in (await office.notices())[0]["message"]
    assert await pool.fetchval("SELECT next_run_at > safelight.now() FROM schedules")


async def test_what_is_disabled_neither_runs_nor_is_made_up_for(office: Office, pool: asyncpg.Pool) -> None:
    schedule_id = await office.open(daily(catch_up=CatchUp.ALL), since="2026-11-20 09:00")
    await timetable.change(pool, schedule_id, {"enabled": False}, account=ACCOUNT)
    await office.tick_at("2026-11-22 19:00")
    assert (await office.runs(), await office.next_run()) == ([], None)

    await timetable.change(pool, schedule_id, {"enabled": True}, account=ACCOUNT)
    await office.tick_at("2026-11-23 18:00")
    assert await office.runs() == [("11-23 18:00", "submitted")]


async def test_runs_that_wait_are_left_out_when_their_schedule_is_disabled(office: Office, pool: asyncpg.Pool) -> None:
    schedule_id = await office.open(daily(job={"breaks": "a bug"}), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00")
    await timetable.change(pool, schedule_id, {"enabled": False, "job": {}}, account=ACCOUNT)
    await office.tick_at("2026-11-20 19:00")
    assert await office.runs() == [("11-20 18:00", "skipped")]


async def test_only_a_change_of_its_times_moves_the_next_one(office: Office, pool: asyncpg.Pool) -> None:
    schedule_id = await office.open(daily(), since="2026-11-20 09:00")
    await set_clock(pool, at("2026-11-20 18:00:30"))  # due, and nobody has ticked yet
    await timetable.change(pool, schedule_id, {"name": "nightly"}, account=ACCOUNT)
    assert await office.next_run() == "11-20 18:00"
    await timetable.change(pool, schedule_id, {"cron": "30 20 * * *"}, account=ACCOUNT)
    assert await office.next_run() == "11-20 20:30"
    await timetable.change(pool, schedule_id, {"timezone": "America/New_York"}, account=ACCOUNT)
    assert await office.next_run() == "11-20 20:30"
    await office.tick_at("2026-11-20 20:30", zone="America/New_York")
    assert await office.runs() == [("11-20 20:30", "submitted")]


async def test_a_schedule_that_is_deleted_leaves_its_jobs(office: Office, pool: asyncpg.Pool) -> None:
    schedule_id = await office.open(daily(), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00")
    await timetable.remove(pool, schedule_id, account=ACCOUNT)
    await office.tick_at("2026-11-21 18:00")
    assert (len(await office.jobs()), await office.runs()) == (1, [])


async def test_the_list_of_runs_does_not_grow_without_end(office: Office, pool: asyncpg.Pool) -> None:
    await office.open(daily(cron="* * * * *"), since="2026-11-20 09:00")
    await pool.execute(
        "INSERT INTO schedule_runs (schedule_id, trigger, scheduled_at, local_day, status, try_at, is_watched,"
        " created_at) SELECT id, 'cron', now() - make_interval(mins => n), now(), 'skipped', now(), false, now()"
        " FROM schedules, generate_series(1, $1) AS n",
        KEPT_RUNS + 50,
    )
    await office.tick_at("2026-11-20 09:01")
    assert await pool.fetchval("SELECT count(*) FROM schedule_runs") == KEPT_RUNS


async def test_looking_for_work_reads_no_more_than_there_is(office: Office, pool: asyncpg.Pool) -> None:
    await office.open(daily(), since="2026-11-20 09:00")
    await pool.execute(
        "INSERT INTO schedule_runs (schedule_id, trigger, scheduled_at, local_day, status, job_id, try_at, is_watched,"
        " created_at) SELECT id, 'manual', now(), now(), 'submitted', 'job', now(), false, now()"
        " FROM schedules, generate_series(1, 3000)"
    )
    await pool.execute("ANALYZE schedule_runs")
    plan = "\n".join(row[0] for row in await pool.fetch("EXPLAIN " + load("schedules").has_work))
    assert "Seq Scan on schedule_runs" not in plan


async def doctor_says(pool: asyncpg.Pool) -> tuple[Verdict, str]:
    check = await schedule_check(pool, area="work")
    assert check is not None
    assert check.verdict is Verdict.OK or check.remedy
    return check.verdict, check.found


async def test_the_doctor_knows_schedules_that_are_overdue_or_fail(office: Office, pool: asyncpg.Pool) -> None:
    assert await schedule_check(pool, area="work") is None
    schedule_id = await office.open(daily(ready_by="00:00"), since="2026-11-20 09:00")
    assert await doctor_says(pool) == (Verdict.OK, "1 of 1 enabled, the next at 2026-11-20 17:00 UTC")
    await set_clock(pool, at("2026-11-20 18:01"))
    assert (await doctor_says(pool))[0] is Verdict.OK
    await set_clock(pool, at("2026-11-20 18:03"))
    assert await doctor_says(pool) == (Verdict.PROBLEM, "1 of 1 enabled; the time of `daily` has passed")

    await office.process().tick()
    assert (await doctor_says(pool))[0] is Verdict.OK
    await office.tick_at("2026-11-21 00:01")
    assert await doctor_says(pool) == (
        Verdict.WARNING,
        "1 of 1 enabled; pictures of `daily` are late, or hardly there in time",
    )
    await pool.execute("UPDATE jobs SET status = 'completed'")
    assert (await doctor_says(pool))[0] is Verdict.OK

    await timetable.change(pool, schedule_id, {"job": {"refuse": "The model is gone."}}, account=ACCOUNT)
    await office.tick_at("2026-11-21 18:00")
    assert await doctor_says(pool) == (
        Verdict.WARNING,
        "1 of 1 enabled; no job could be made for the last run of `daily`: The model is gone.",
    )
