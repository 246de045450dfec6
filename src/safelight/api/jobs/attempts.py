"""The calls that were made for a job, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import asyncpg
from fastapi import APIRouter, Query
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Reads, reach_of
from safelight.api.cursor import page_cursor, page_number
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import documented, problems
from safelight.db.statements import load
from safelight.domain.attempts import OPEN_ATTEMPT_STATUSES, AttemptStatus
from safelight.domain.errors import NotFound
from safelight.domain.ids import is_job_id
from safelight.domain.money import format_usd

_MOST_CALLS = 1_000_000
"""More than an image ever has: a place in the list is the image's position times this, and the call's number."""
_PAID_FOR: Mapping[str, Literal["yes", "no"]] = {
    "unbilled": "no",
    "no_image": "yes",
    "received": "yes",
    "settled": "yes",
}
"""Where nobody knows the price."""

_SQL = load("read")


def attempt_routes(deps: ApiDependencies) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @router.get(
        "/{job_id}/attempts",
        responses=documented(200, schemas.AttemptPage, "A page.") | problems(400, 404, 422),
    )
    async def list_attempts(caller: Reads, job_id: str, query: Annotated[schemas.AttemptsQuery, Query()]) -> Response:
        """Every call to a vendor that was made for the job, in all its runs: what came of it, and what it cost."""
        of_list = ("attempts", job_id, query.image or "")
        position, number = divmod(page_number(query.cursor, *of_list), _MOST_CALLS) if query.cursor else (0, 0)
        rows = await _attempts(deps, job_id, reach_of(caller), query.image, position, number, query.limit + 1)
        page = rows[: query.limit]
        following = None
        if len(rows) > query.limit:
            following = page_cursor(str(page[-1]["position"] * _MOST_CALLS + page[-1]["number"]), *of_list)
        answer = schemas.AttemptPage(attempts=[_shown(row) for row in page], next_cursor=following)
        return Response(answer.model_dump_json(), 200, {"Cache-Control": "no-store"}, "application/json")

    return router


async def _attempts(deps: ApiDependencies, job_id: str, account: str | None, *more: object) -> list[asyncpg.Record]:
    """Raises NotFound for a job that is not there, or of another account than the one that is named."""
    if not is_job_id(job_id):
        raise _no_such_job()
    async with deps.pool.acquire(timeout=deps.acquire_seconds) as conn:
        rows = await conn.fetch(_SQL.attempts_of_job, job_id, account, *more)
    if not rows:
        raise _no_such_job()
    return [row for row in rows if row["number"] is not None]


def _shown(row: asyncpg.Record) -> schemas.Attempt:
    microusd = row["cost_microusd"]
    return schemas.Attempt(
        image=row["image_id"],
        number=row["number"],
        run=row["run"],
        provider=row["provider"],
        model=row["model"],
        status=row["status"],
        error_kind=row["error_kind"],
        error_code=row["error_code"],
        started_at=row["sent_at"],
        ended_at=row["ended_at"],
        cost_usd=format_usd(microusd) if microusd is not None else None,
        basis=row["cost_basis"],
        billed=_billed(row["status"], microusd),
    )


def _billed(status: str, microusd: int | None) -> Literal["yes", "no", "unknown"] | None:
    if status in OPEN_ATTEMPT_STATUSES:
        return None
    if microusd is not None and status != AttemptStatus.UNKNOWN:
        return "yes" if microusd > 0 else "no"
    return _PAID_FOR.get(status, "unknown")


def _no_such_job() -> NotFound:
    return NotFound("There is no such job.")
