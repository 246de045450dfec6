"""Pictures that are wanted by a time of day: somebody is told once when they will hardly be there."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from safelight.domain.recurrence import CatchUp
from safelight.engine.schedules import timetable
from tests.engine.timetable import ACCOUNT, Office, at, daily, set_clock


@pytest.fixture
def office(pool: asyncpg.Pool) -> Office:
    return Office(pool=pool)


async def end_jobs(pool: asyncpg.Pool, status: str, *, at_text: str) -> None:
    await set_clock(pool, at(at_text))
    await pool.execute("UPDATE jobs SET status = $1, completed_at = safelight.now() WHERE status = 'pending'", status)


async def reasons(office: Office) -> list[str]:
    return [notice["data"]["reason"] for notice in await office.notices()]


async def test_nobody_is_told_of_pictures_that_are_there_in_time(office: Office, pool: asyncpg.Pool) -> None:
    await office.open(daily(ready_by="00:00"), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00", "2026-11-20 23:49")
    await end_jobs(pool, "completed", at_text="2026-11-20 23:49:30")
    await office.tick_at("2026-11-20 23:55", "2026-11-21 00:05")
    assert await office.notices() == []
    assert not await pool.fetchval("SELECT is_watched FROM schedule_runs")


@pytest.mark.parametrize("status", ["partial", "failed", "canceled"])
async def test_a_job_that_ended_without_all_pictures_is_told_of_once(
    office: Office, pool: asyncpg.Pool, status: str
) -> None:
    await office.open(daily(ready_by="00:00"), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00")
    await end_jobs(pool, status, at_text="2026-11-20 18:01")
    await office.tick_at("2026-11-20 18:01", "2026-11-20 18:02", "2026-11-21 00:01")

    [notice] = await office.notices()
    job_id = await pool.fetchval("SELECT id FROM jobs")
    assert (notice["type"], notice["account"]) == ("schedule.at_risk", ACCOUNT)
    assert notice["message"] == "its job has ended without all pictures"
    run = await pool.fetchrow("SELECT * FROM schedule_runs")
    assert run is not None
    assert notice["data"] == {
        "schedule": "daily",
        "schedule_id": run["schedule_id"],
        "run_id": run["id"],
        "job_id": job_id,
        "scheduled_at": "2026-11-20T17:00:00+00:00",
        "ready_by": "2026-11-20T23:00:00+00:00",
        "reason": "incomplete",
    }
    assert (run["at_risk_reason"], run["at_risk_at"]) == ("incomplete", notice["at"])


async def test_while_nobody_knows_how_long_it_takes_the_margin_counts(office: Office) -> None:
    await office.open(daily(ready_by="00:00"), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00", "2026-11-20 23:49:59")
    assert await office.notices() == []
    await office.tick_at("2026-11-20 23:50:01", "2026-11-21 00:01")
    assert await reasons(office) == ["short"]


async def test_then_it_is_how_long_nearly_all_of_its_last_runs_took(office: Office, pool: asyncpg.Pool) -> None:
    await office.open(daily(ready_by="00:00"), since="2026-11-20 09:00")
    for day, minute in ((20, "10"), (21, "20"), (22, "40")):  # the 90th percentile of 10, 20, 40 min is 36
        await office.tick_at(f"2026-11-{day} 18:00")
        await end_jobs(pool, "completed", at_text=f"2026-11-{day} 18:{minute}")
        await office.tick_at(f"2026-11-{day} 18:50")
    await office.tick_at("2026-11-23 18:00", "2026-11-23 23:23:30")
    assert await office.notices() == []
    await office.tick_at("2026-11-23 23:24:30")
    assert await reasons(office) == ["short"]


async def test_a_time_that_has_passed_is_told_of_also_when_nobody_was_there(office: Office) -> None:
    await office.open(daily(ready_by="00:00", catch_up=CatchUp.ALL), since="2026-11-20 09:00")
    await office.tick_at("2026-11-22 09:00")
    assert len(await office.jobs()) == 2
    assert await reasons(office) == ["late", "late"]


async def test_the_one_job_of_a_day_is_watched_once(office: Office) -> None:
    schedule_id = await office.open(daily(ready_by="00:00", unique_per="day"), since="2026-11-20 09:00")
    await office.process().run_now(schedule_id, account=ACCOUNT, request_key=None)
    await office.tick_at("2026-11-20 18:00", "2026-11-21 00:00:01", "2026-11-21 00:10")
    assert await reasons(office) == ["late"]


async def test_without_a_time_of_day_nothing_is_watched(office: Office, pool: asyncpg.Pool) -> None:
    await office.open(daily(), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00")
    await end_jobs(pool, "failed", at_text="2026-11-20 18:01")
    await office.tick_at("2026-11-20 18:02")
    assert await office.notices() == []


async def test_processes_that_look_at_once_tell_it_once(office: Office, pool: asyncpg.Pool) -> None:
    await office.open(daily(ready_by="00:00"), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00")
    await set_clock(pool, at("2026-11-21 00:00:01"))
    await asyncio.gather(*(office.process().tick() for _ in range(4)))
    assert await reasons(office) == ["late"]


async def test_a_schedule_that_is_deleted_is_watched_no_more(office: Office, pool: asyncpg.Pool) -> None:
    schedule_id = await office.open(daily(ready_by="00:00"), since="2026-11-20 09:00")
    await office.tick_at("2026-11-20 18:00")
    await timetable.remove(pool, schedule_id, account=ACCOUNT)
    await office.tick_at("2026-11-21 00:00:01")
    assert await office.notices() == []
