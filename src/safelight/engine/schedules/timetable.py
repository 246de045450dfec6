"""The timetable: schedules as rows. What becomes of them when their time comes is `engine.schedules.due`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.errors import Conflict, NotFound
from safelight.domain.ids import ScheduleId, new_schedule_id
from safelight.domain.recurrence import CatchUp, Recurrence, cron_fields, zone_of

_SQL = load("schedules")
_LEFT_TO_CALLER_SECONDS = 10.0
"""Whoever asked for a run makes its job; after this the next tick does. Chosen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a schedule says. `job` is the body of a job, with placeholders; the rest has been read and is sound."""

    name: str
    cron: str
    timezone: str
    job: Mapping[str, Any]
    unique_per: str | None = None
    catch_up: CatchUp = CatchUp.LATEST
    ready_by: str | None = None
    enabled: bool = True

    @property
    def recurrence(self) -> Recurrence:
        """Raises ValueError for a zone or fields that this installation does not know."""
        return Recurrence(cron_fields(self.cron), zone_of(self.timezone))


async def add(pool: asyncpg.Pool, account: str, terms: Terms) -> ScheduleId:
    """The schedule exists, and its next time is known. Raises Conflict (`schedule-exists`) for a name that is taken."""
    schedule_id = new_schedule_id()
    async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn:
        now: datetime = await conn.fetchval("SELECT safelight.now()")
        next_at = terms.recurrence.next_after(now) if terms.enabled else None
        if await conn.fetchval(_SQL.insert_schedule, schedule_id, account, *_columns(terms), next_at) is None:
            raise _exists(terms.name)
    return schedule_id


async def change(pool: asyncpg.Pool, schedule_id: ScheduleId, changes: Mapping[str, Any], *, account: str) -> None:
    """The named fields of its terms are as given. Its next time is reckoned anew, from now on, when that may differ;
    runs that wait are left out when it is disabled.

    Raises NotFound, and Conflict (`schedule-exists`).
    """
    try:
        async with pool.acquire(timeout=ACQUIRE_SECONDS) as conn, conn.transaction():
            row = await conn.fetchrow(_SQL.lock_schedule, schedule_id, account)
            if row is None:
                raise unknown()
            old = _terms(row)
            new = replace(old, **changes)
            next_at = row["next_run_at"]
            if (new.cron, new.timezone, new.enabled) != (old.cron, old.timezone, old.enabled):
                next_at = new.recurrence.next_after(row["now"]) if new.enabled else None
            await conn.execute(_SQL.change_schedule, schedule_id, *_columns(new), next_at)
            if not new.enabled:
                await conn.execute(_SQL.skip_due_runs, schedule_id)
    except asyncpg.UniqueViolationError:
        raise _exists(str(changes["name"])) from None


async def remove(pool: asyncpg.Pool, schedule_id: ScheduleId, *, account: str) -> None:
    """The schedule and the list of its runs are gone; their jobs stay. Raises NotFound."""
    if await pool.fetchval(_SQL.delete_schedule, schedule_id, account) is None:
        raise unknown()


async def terms_of(pool: asyncpg.Pool, schedule_id: ScheduleId, *, account: str) -> tuple[Terms, datetime]:
    """What the schedule says, and the database's time. Raises NotFound."""
    row = await pool.fetchrow(_SQL.schedule, schedule_id, account)
    if row is None:
        raise unknown()
    return _terms(row), row["now"]


async def ask_for_run(
    pool: asyncpg.Pool, schedule_id: ScheduleId, terms: Terms, now: datetime, *, request_key: str | None
) -> tuple[int, bool]:
    """A run for now is written down; it is made a job of in any case, by the caller or by a tick.

    Its number, and whether it was asked for under this key before.
    """
    recurrence = terms.recurrence
    ready_at = recurrence.ready_at(now, terms.ready_by) if terms.ready_by is not None else None
    day = recurrence.day_of(now)
    run_id: int | None = await pool.fetchval(
        _SQL.insert_manual_run, schedule_id, request_key, now, day, ready_at, _LEFT_TO_CALLER_SECONDS
    )
    if run_id is not None:
        return run_id, False
    earlier: int | None = await pool.fetchval(_SQL.run_of_key, schedule_id, request_key)
    if earlier is None:
        raise unknown()
    return earlier, True


def unknown() -> NotFound:
    return NotFound("There is no such schedule.")


def _exists(name: str) -> Conflict:
    return Conflict(f"There is a schedule called `{name}` already.", slug="schedule-exists")


def _terms(row: Mapping[str, Any]) -> Terms:
    return Terms(
        name=row["name"],
        cron=row["cron"],
        timezone=row["timezone"],
        job=orjson.loads(row["job"]),
        unique_per=row["unique_per"],
        catch_up=CatchUp(row["catch_up"]),
        ready_by=row["ready_by"],
        enabled=row["enabled"],
    )


def _columns(terms: Terms) -> tuple[Any, ...]:
    return (
        terms.name,
        terms.cron,
        terms.timezone,
        orjson.dumps(dict(terms.job)).decode(),
        terms.unique_per,
        terms.catch_up.value,
        terms.ready_by,
        terms.enabled,
    )
