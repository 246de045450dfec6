"""Schedules and their runs, as answers show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from safelight.api import schemas
from safelight.api.cursor import page_cursor, page_number, page_position
from safelight.api.dependencies import ApiDependencies
from safelight.db.statements import load
from safelight.delivery.links import Links
from safelight.domain.ids import ScheduleId
from safelight.engine.schedules.timetable import unknown

_SQL = load("schedules")
_PLAIN = ("id", "name", "cron", "timezone", "unique_per", "catch_up", "ready_by", "enabled", "next_run_at")
_TIMES = ("created_at", "updated_at")


class ScheduleReader:
    """Reads schedules of one account at a time; one of another account raises NotFound."""

    def __init__(self, deps: ApiDependencies) -> None:
        self._pool = deps.pool
        self._acquire_seconds = deps.acquire_seconds
        self._links = Links(deps.public_url)

    async def schedule(self, schedule_id: ScheduleId, *, account: str) -> schemas.Schedule:
        async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
            row = await conn.fetchrow(_SQL.schedule, schedule_id, account)
            if row is None:
                raise unknown()
            last = await conn.fetchrow(_SQL.newest_runs, [schedule_id])
        return schemas.Schedule(**self._summary(row, last), job=orjson.loads(row["job"]))

    async def page(self, account: str, query: schemas.ScheduleQuery) -> schemas.SchedulePage:
        """By name. Raises SafelightError (`invalid-cursor`)."""
        of_list = ("schedules", account, str(query.name), str(query.enabled))
        after = page_position(query.cursor, *of_list) if query.cursor is not None else None
        async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
            rows = await conn.fetch(_SQL.schedules_page, account, after, query.name, query.enabled, query.limit + 1)
            runs = await conn.fetch(_SQL.newest_runs, [row["id"] for row in rows])
        last = {run["schedule_id"]: run for run in runs}
        shown = rows[: query.limit]
        return schemas.SchedulePage(
            schedules=[schemas.ScheduleSummary(**self._summary(row, last.get(row["id"]))) for row in shown],
            next_cursor=page_cursor(shown[-1]["name"], *of_list) if len(rows) > len(shown) else None,
        )

    async def runs(self, schedule_id: ScheduleId, query: schemas.RunsQuery, *, account: str) -> schemas.ScheduleRunPage:
        """Newest first. Raises SafelightError (`invalid-cursor`)."""
        of_list = ("runs", account, schedule_id)
        before = page_number(query.cursor, *of_list) if query.cursor is not None else None
        async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
            if await conn.fetchrow(_SQL.schedule, schedule_id, account) is None:
                raise unknown()
            rows = await conn.fetch(_SQL.runs_page, schedule_id, before, query.limit + 1)
        shown = rows[: query.limit]
        return schemas.ScheduleRunPage(
            runs=[self._run(row) for row in shown],
            next_cursor=page_cursor(str(shown[-1]["id"]), *of_list) if len(rows) > len(shown) else None,
        )

    async def run(self, run_id: int) -> schemas.ScheduleRun:
        row = await self._pool.fetchrow(_SQL.run, run_id)
        if row is None:
            raise unknown()
        return self._run(row)

    def _summary(self, row: Mapping[str, Any], last_run: Mapping[str, Any] | None) -> dict[str, Any]:
        schedule_id = row["id"]
        return {
            **{name: row[name] for name in (*_PLAIN, *_TIMES)},
            "last_run": self._run(last_run) if last_run is not None else None,
            "urls": schemas.ScheduleUrls(
                self=self._links.schedule(schedule_id),
                run=self._links.schedule(schedule_id, "/run"),
                runs=self._links.schedule(schedule_id, "/runs"),
            ),
        }

    def _run(self, row: Mapping[str, Any]) -> schemas.ScheduleRun:
        faults = [{**fault, "pointer": f"/job{fault['pointer']}"} for fault in row["faults"] or ()]
        return schemas.ScheduleRun(
            id=row["id"],
            trigger=row["trigger"],
            status=row["status"],
            scheduled_at=row["scheduled_at"],
            created_at=row["created_at"],
            job=self._job(row) if row["job_id"] is not None else None,
            detail=row["detail"],
            faults=[schemas.RunFault(pointer=each["pointer"], detail=each["detail"]) for each in faults],
            ready_by=row["ready_by_at"],
            at_risk_at=row["at_risk_at"],
            at_risk_reason=row["at_risk_reason"],
        )

    def _job(self, row: Mapping[str, Any]) -> schemas.RunJob:
        return schemas.RunJob(
            id=row["job_id"],
            status=row["job_status"],
            completed_at=row["job_completed_at"],
            url=self._links.job(row["job_id"]),
        )
