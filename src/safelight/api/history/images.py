"""Single pictures across jobs: a page of them, newest first, or all of them as a table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import asyncpg
import orjson
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from safelight.api import schemas
from safelight.api.access import Reads
from safelight.api.cursor import ImagePosition, image_before, image_cursor
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.openapi import documented, problems
from safelight.api.history.filters import METADATA_PARAMETER, History, history_of
from safelight.api.history.tables import Cell, table, wants_table, with_table
from safelight.db.statements import load
from safelight.delivery.links import Links
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.money import format_usd

PAGE_IMAGES = 500
"""That are read at a time for a table. Chosen."""

_FIELDS = (
    *("job_id", "account", "id", "group", "style", "status", "provider", "model", "attempt_count", "retry_count"),
    *("cost_usd", "created_at", "started_at", "completed_at"),
)
COLUMNS = (*_FIELDS, "error_kind", "error_code", "metadata")

_SQL = load("history")


def image_history_routes(deps: ApiDependencies, links: Links) -> APIRouter:
    router = APIRouter(prefix="/v1/images", tags=["images"])
    reader = ImageReader(deps, links)

    @router.get(
        "",
        responses=with_table(documented(200, schemas.ImagePage, "A page."), "All of them, a row each.")
        | problems(400, 422),
        openapi_extra={"parameters": [METADATA_PARAMETER]},
    )
    async def list_images(request: Request, caller: Reads, query: Annotated[schemas.ImagesQuery, Query()]) -> Response:
        """Images across jobs, those of the newest job first and within a job in their order. What is asked of an image
        it has to meet itself; `metadata.{key}={value}` is of its job. As `text/csv`, all of them."""
        history = history_of(request, query, caller=caller)
        after = image_before(query.cursor, history) if query.cursor is not None else None
        if wants_table(request, query.format):
            most = query.limit if "limit" in query.model_fields_set else None
            return await _image_table(reader, history, after=after, most=most)
        images, following = await reader.page(history, after=after, limit=query.limit)
        page = schemas.ImagePage(
            images=images, next_cursor=image_cursor(following, history) if following is not None else None
        )
        headers = {"Cache-Control": "no-store"}
        return Response(page.model_dump_json(exclude_unset=True), 200, headers, "application/json")

    return router


class ImageReader:
    def __init__(self, deps: ApiDependencies, links: Links) -> None:
        self._pool = deps.pool
        self._acquire_seconds = deps.acquire_seconds
        self._links = links

    async def page(
        self, history: History, *, after: ImagePosition | None, limit: int
    ) -> tuple[list[schemas.ImageSummary], ImagePosition | None]:
        """Those after a position, and the last one's if there are more."""
        async with (
            self._pool.acquire(timeout=self._acquire_seconds) as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            await conn.execute(_SQL.plan_anew)
            rows = await conn.fetch(
                _SQL.images,
                history.account,
                list(history.statuses) or None,
                after.job_id if after is not None else None,
                limit + 1,
                history.created_after,
                history.created_before,
                dict(history.metadata) if history.metadata is not None else None,
                *history.of_image,
                after.position if after is not None else None,
            )
        page, has_more = rows[:limit], len(rows) > limit
        last = ImagePosition(job_id=page[-1]["job_id"], position=page[-1]["position"]) if has_more else None
        return [self._summary(row) for row in page], last

    def _summary(self, row: asyncpg.Record) -> schemas.ImageSummary:
        """Fields without a value of their own are left unset, and so are absent from the answer."""
        more: dict[str, Any] = {name: row[name] for name in ("style", "error") if row[name] is not None}
        if row["status"] == ImageStatus.COMPLETED and row["has_outputs"] and row["removed_at"] is None:
            more["url"] = self._links.image(row["job_id"], row["id"], account=row["account"], link_key=row["link_key"])
        return schemas.ImageSummary(
            job_id=row["job_id"],
            account=row["account"],
            id=row["id"],
            group=row["image_group"],
            status=row["status"],
            provider=row["provider"],
            model=row["model"],
            attempt_count=row["attempt_count"],
            retry_count=row["retry_count"],
            cost_usd=None if row["has_unknown"] else format_usd(row["known_microusd"]),
            metadata=row["metadata"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            completed_at=row["completed_at"],
            **more,
        )


async def _image_table(
    reader: ImageReader, history: History, *, after: ImagePosition | None, most: int | None
) -> Response:
    """As a table of jobs; the first page is read before the answer begins."""
    first = await reader.page(history, after=after, limit=_next_limit(most))
    return table("images", COLUMNS, _rows(reader, history, first, most))


async def _rows(
    reader: ImageReader,
    history: History,
    first: tuple[list[schemas.ImageSummary], ImagePosition | None],
    most: int | None,
) -> AsyncIterator[Sequence[Sequence[Cell]]]:
    images, last = first
    while True:
        yield [_row(image) for image in images]
        most = most - len(images) if most is not None else None
        if last is None or most == 0:
            return
        images, last = await reader.page(history, after=last, limit=_next_limit(most))


def _next_limit(most: int | None) -> int:
    return PAGE_IMAGES if most is None else min(PAGE_IMAGES, most)


def _row(image: schemas.ImageSummary) -> list[Cell]:
    error = image.error
    metadata = orjson.dumps(image.metadata, option=orjson.OPT_SORT_KEYS).decode() if image.metadata else None
    cells: list[Cell] = [getattr(image, name) for name in _FIELDS]
    return [*cells, error.kind if error else None, error.code if error else None, metadata]
