"""Whether schedules run, for the doctor."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from safelight.db.statements import load
from safelight.domain.checkup import Check, Verdict

_SQL = load("schedules")
_LONG_PAST_SECONDS = 120.0
"""Any process looks every few seconds. Chosen."""
_NAMED = 3


async def schedule_check(conn: asyncpg.Connection | asyncpg.Pool, *, area: str) -> Check | None:
    """None where there are no schedules. Names schedules, never what is in them."""
    row = await conn.fetchrow(_SQL.health, _LONG_PAST_SECONDS)
    assert row is not None
    if not row["schedules"]:
        return None
    found = f"{row['enabled']} of {row['schedules']} enabled"
    if row["overdue"]:
        return Check(
            area=area,
            name="schedules",
            verdict=Verdict.PROBLEM,
            found=f"{found}; the time of {_named(row['overdue'])} has passed",
            meaning="No process makes their jobs: none runs, or each of them fails at it.",
            remedy="Start the API or a worker; look for `schedules could not be looked at` and "
            "`a run could not be made a job of` in their logs.",
        )
    if row["failing"]:
        return Check(
            area=area,
            name="schedules",
            verdict=Verdict.WARNING,
            found=f"{found}; no job could be made for the last run of {_named(row['failing'])}: {row['first_failure']}",
            meaning="What the template asks for is not there any more.",
            remedy="Run `safelight schedules show NAME`, correct its job, and run it again.",
        )
    if row["at_risk"]:
        return Check(
            area=area,
            name="schedules",
            verdict=Verdict.WARNING,
            found=f"{found}; pictures of {_named(row['at_risk'])} are late, or hardly there in time",
            meaning="`schedule.at_risk` was told of its last run, and its job has not completed since.",
            remedy="Run `safelight schedules show NAME` for its job, and see what keeps that.",
        )
    soon = f", the next at {row['next_run_at']:%Y-%m-%d %H:%M} UTC" if row["next_run_at"] is not None else ""
    return Check(area=area, name="schedules", verdict=Verdict.OK, found=f"{found}{soon}")


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
