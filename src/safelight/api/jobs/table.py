"""Earlier jobs as a table: one row each, newest first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.history.filters import History
from safelight.api.history.tables import Cell, table
from safelight.api.jobs.view import JobReader
from safelight.domain.ids import JobId

PAGE_JOBS = 200
"""That are read at a time. Chosen."""

_FIELDS = (
    *("id", "account", "status", "run", "created_at", "started_at", "completed_at", "priority", "not_before"),
    *("deadline_at", "deadline_passed", "retry_count", "data_removed"),
)
_COUNTS = tuple(schemas.Counts.model_fields)
_COST = tuple(schemas.JobCost.model_fields)
COLUMNS = (*_FIELDS, *(f"images_{name}" for name in _COUNTS), *_COST, "metadata")


async def job_table(reader: JobReader, history: History, *, before: JobId | None, most: int | None) -> Response:
    """Every job of the history, or the `most` newest, read page by page: those made meanwhile are not in it, and
    those that move meanwhile are as their page finds them. The first page is read before the answer begins."""
    first = await reader.page(history, before=before, limit=_next_limit(most))
    return table("jobs", COLUMNS, _rows(reader, history, first, most))


async def _rows(
    reader: JobReader, history: History, first: tuple[list[schemas.JobSummary], bool], most: int | None
) -> AsyncIterator[Sequence[Sequence[Cell]]]:
    jobs, has_more = first
    while True:
        yield [_row(job) for job in jobs]
        most = most - len(jobs) if most is not None else None
        if not has_more or most == 0:
            return
        jobs, has_more = await reader.page(history, before=JobId(jobs[-1].id), limit=_next_limit(most))


def _next_limit(most: int | None) -> int:
    return PAGE_JOBS if most is None else min(PAGE_JOBS, most)


def _row(job: schemas.JobSummary) -> list[Cell]:
    metadata = orjson.dumps(job.metadata, option=orjson.OPT_SORT_KEYS).decode() if job.metadata else None
    return [
        *_values(job, _FIELDS),
        *_values(job.counts, _COUNTS),
        *_values(job.cost, _COST),
        metadata,
    ]


def _values(of: Any, names: Sequence[str]) -> list[Cell]:
    return [getattr(of, name) for name in names]
