"""A timetable across a change of clocks, kills and downtime, with real processes: one job a day, made up for as each
schedule says.

The clock that Safelight goes by is moved on by hand; processes only notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx2
import pytest

from safelight.cli.children import free_port
from safelight.domain.recurrence import CatchUp
from safelight.engine.schedules.timetable import Terms, add
from safelight.settings import child_environment
from tests.fork_server import DEVNULL, Process, start
from tests.orders import until

ACCOUNT = "default"
ZONE = "Europe/Berlin"
AT = "30 2 * * *"  # a time that exists twice on 25 October
JOB = {"images": [{"id": "case", "prompt": "A case"}], "metadata": {"day": "{date}"}, "outputs": []}
RUNS = (
    "SELECT s.name, to_char(r.local_day, 'DD') AS day, r.status, r.job_id FROM schedule_runs AS r"
    " JOIN schedules AS s ON s.id = r.schedule_id WHERE r.trigger = 'cron' ORDER BY r.id"
)


@dataclass(kw_only=True)
class Timetable:
    """API and worker processes of one installation, which tick ten times a second."""

    database: str
    home: Path
    pool: asyncpg.Pool
    running: list[Process] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    async def start(self, *, apis: int, workers: int) -> None:
        """Returns when each of them is at work."""
        ports = [free_port() for _ in range(apis)]
        processes = [await self._process("worker", free_port()) for _ in range(workers)]
        processes += [await self._process("api", port) for port in ports]
        self.running += processes
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        async with asyncio.timeout(60), httpx2.AsyncClient(trust_env=False) as client:
            for url in self.urls:
                await _answers(client, f"{url}/readyz")
        pids = [process.pid for process in processes[:workers]]
        await until(self.pool, "SELECT count(*) = $2 FROM workers WHERE pid = ANY($1)", pids, workers, seconds=60)

    async def _process(self, kind: str, port: int) -> Process:
        settings = {
            "home": self.home,
            "database_url": self.database,
            "bind": f"127.0.0.1:{port}",
            "placeholder": 1,
            "schedule_seconds": 0.1,
            "lease_seconds": 1,
            "sweep_seconds": 0.5,
            "run_limit_seconds": 1e7,
        }
        with (self.home / "processes.log").open("ab") as log:
            return await start(
                kind,
                env=child_environment(settings),
                stdin=DEVNULL,
                stdout=log.fileno(),
                stderr=log.fileno(),
            )

    async def kill(self, *processes: Process) -> None:
        for process in processes or tuple(self.running):
            process.kill()
            await process.wait()
            self.running.remove(process)

    async def set_clock(self, local: str, *, fold: int = 0) -> None:
        moment = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(ZONE), fold=fold).astimezone(UTC)
        await self.pool.execute("UPDATE installation SET clock_shift = $1::timestamptz - clock_timestamp()", moment)

    async def settled(self) -> None:
        """Every time that has come was noticed, and its run has its job or never will."""
        question = (
            "SELECT NOT EXISTS (SELECT FROM schedules WHERE next_run_at <= safelight.now())"
            " AND NOT EXISTS (SELECT FROM schedule_runs WHERE status = 'due')"
        )
        await until(self.pool, question, seconds=60)

    async def runs(self, name: str) -> list[tuple[str, str]]:
        """Day of the month and status of each run of the schedule, in order."""
        return [(row["day"], row["status"]) for row in await self.pool.fetch(RUNS) if row["name"] == name]

    async def job_days(self, name: str) -> list[str]:
        """The days that the schedule's jobs say they are of; every job counts, whether a run knows it or not."""
        rows = await self.pool.fetch(
            "SELECT j.metadata->>'day' AS day FROM jobs AS j JOIN schedules AS s"
            " ON j.idempotency_key LIKE s.id || '/%' WHERE s.name = $1 ORDER BY day",
            name,
        )
        return [row["day"][-2:] for row in rows]


async def _answers(client: httpx2.AsyncClient, url: str) -> None:
    """Asked again and again, as a probe does: a service that is starting can tell nobody."""
    while True:
        try:
            if (await client.get(url)).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        await asyncio.sleep(0.05)


@pytest.fixture
async def timetable(database: str, pool: asyncpg.Pool, tmp_path: Path) -> AsyncIterator[Timetable]:
    timetable = Timetable(database=database, home=tmp_path, pool=pool)
    yield timetable
    await timetable.kill()


def daily(name: str, **terms: Any) -> Terms:
    return Terms(**{"name": name, "cron": AT, "timezone": ZONE, "job": JOB, **terms})


async def test_a_daily_job_is_made_once_across_a_change_of_clocks_and_a_kill(timetable: Timetable) -> None:
    await timetable.set_clock("2026-10-24 12:00")
    await timetable.start(apis=1, workers=1)
    worker, api = timetable.running
    async with httpx2.AsyncClient(base_url=timetable.urls[0], timeout=30) as client:
        sent = {"name": "one", "cron": AT, "timezone": ZONE, "unique_per": "day", "job": JOB}
        created = await client.post("/v1/schedules", json=sent)
        assert created.status_code == 201, created.text
    await timetable.set_clock("2026-10-25 02:30:01")
    await timetable.settled()
    await timetable.set_clock("2026-10-25 02:30:01", fold=1)
    await timetable.set_clock("2026-10-26 02:29:59")
    await timetable.kill(api)  # a moment before the time comes: the worker sees to it
    await until(timetable.pool, "SELECT count(*) = 2 FROM schedule_runs WHERE status <> 'due'")

    assert await timetable.runs("one") == [("25", "submitted"), ("26", "submitted")]
    assert await timetable.job_days("one") == ["25", "26"]
    assert worker.returncode is None


@pytest.mark.slow
async def test_a_week_with_a_change_of_clocks_and_a_day_of_downtime_has_one_job_a_day(timetable: Timetable) -> None:
    pool = timetable.pool
    await timetable.set_clock("2026-10-22 12:00")
    names = {policy.value: daily(policy.value, catch_up=policy, unique_per="day") for policy in CatchUp}
    ids = {name: await add(pool, ACCOUNT, terms) for name, terms in names.items()}
    await add(pool, ACCOUNT, daily("hourly", cron="@hourly", unique_per="day"))
    await timetable.start(apis=2, workers=2)

    async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:

        async def everybody_asks_for(name: str) -> set[str]:
            """Both processes are asked three times at once for a run now; the jobs that were answered."""
            asked = [client.post(f"{url}/v1/schedules/{ids[name]}/run") for url in timetable.urls * 3]
            answers = [answer.json() for answer in await asyncio.gather(*asked)]
            return {answer["job"]["id"] for answer in answers}

        for day in ("23", "24"):
            await timetable.set_clock(f"2026-10-{day} 02:30:01")
            await timetable.settled()
            assert len(await everybody_asks_for("latest")) == 1
        for fold in (0, 1):
            await timetable.set_clock("2026-10-25 02:30:01", fold=fold)
            assert len(await everybody_asks_for("all")) == 1
            await timetable.settled()

    for process in list(timetable.running)[::2]:  # one of each kind goes just as the time comes
        await timetable.set_clock("2026-10-26 02:30:01")
        await timetable.kill(process)
    await timetable.settled()
    await timetable.kill()
    await timetable.set_clock("2026-10-28 12:00")  # 27 and 28 come while nobody is there
    await timetable.start(apis=2, workers=2)
    await timetable.settled()
    await timetable.set_clock("2026-10-29 02:30:01")
    await timetable.settled()
    await until(pool, "SELECT count(*) = 0 FROM jobs WHERE status NOT IN ('completed')", seconds=60)

    before, after = ["23", "24", "25", "26"], "29"
    assert await timetable.job_days("skip") == [*before, after]
    assert await timetable.job_days("latest") == [*before, "28", after]
    assert await timetable.job_days("all") == [*before, "27", "28", after]
    assert ("28", "skipped") in await timetable.runs("skip")
    # Of a day's hours the first that was noticed made the job, and the clock moves a day at a time.
    assert await timetable.job_days("hourly") == [*before, "28", after]
    assert await pool.fetchval("SELECT count(*) = count(DISTINCT idempotency_key) FROM jobs")
