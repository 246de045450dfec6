"""A job as its caller sees it, read in one snapshot of the database."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from safelight.api import schemas
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.problems import RequestFault
from safelight.api.history import History
from safelight.db.statements import load
from safelight.delivery.links import Links
from safelight.domain import progress
from safelight.domain.errors import InvalidRequest, NotFound
from safelight.domain.ids import JobId, is_job_id
from safelight.domain.lifecycle import ImageStatus, JobStatus
from safelight.domain.money import format_usd
from safelight.domain.order import Priority
from safelight.storage.blob_store import BlobMissing

MAX_INLINE_BYTES = 32_000_000
"""Pictures that one answer carries; the others keep their links. Chosen."""

_SQL = load("read")


class JobReader:
    """Reads jobs of one account at a time; a job of another account raises NotFound."""

    def __init__(self, deps: ApiDependencies) -> None:
        self._pool = deps.pool
        self._acquire_seconds = deps.acquire_seconds
        self._blobs = deps.blobs
        self._links = Links(deps.public_url)

    async def job(self, job_id: str, *, account: str, inline: str | None = None) -> schemas.Job:
        """Raises InvalidRequest for an `inline` that is not one of the job's outputs."""
        if not is_job_id(job_id):
            raise _no_such_job()
        async with self._snapshot() as conn:
            row = await conn.fetchrow(_SQL.job, job_id, account)
            if row is None:
                raise _no_such_job()
            summary = (await self._summaries(conn, [row]))[0]
            images = await conn.fetch(_SQL.images_of_job, job_id)
            renditions = await conn.fetch(_SQL.renditions_of_job, job_id)
        if inline is not None and inline not in [output["name"] for output in row["outputs"]]:
            fault = RequestFault("inline", "The job has no such output.", in_query=True)
            raise InvalidRequest(fault.detail, faults=(fault,))
        data_urls = await self._data_urls([each for each in renditions if each["name"] == inline])
        outputs: dict[str, dict[str, schemas.Output]] = defaultdict(dict)
        in_order = [output["name"] for output in row["outputs"]]
        for each in sorted(renditions, key=lambda each: in_order.index(each["name"])):
            link = data_urls.get(each["key"]) or self._links.image(job_id, each["image_id"], each["name"])
            outputs[each["image_id"]][each["name"]] = _output(each, link)
        return schemas.Job(**dict(summary), images=[self._image(job_id, row, outputs.get(row["id"])) for row in images])

    async def page(
        self, history: History, *, before: JobId | None, limit: int
    ) -> tuple[list[schemas.JobSummary], bool]:
        """The newest jobs before one, and whether there are more."""
        async with self._snapshot() as conn:
            wanted = (history.account, history.status, before, limit + 1, history.created_after, history.group)
            if history.metadata is None:
                rows = await conn.fetch(_SQL.newest_jobs, *wanted)
            else:
                rows = await conn.fetch(_SQL.newest_jobs_with_metadata, *wanted, dict(history.metadata))
            return await self._summaries(conn, rows[:limit]), len(rows) > limit

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Any]:
        """A connection whose statements all see the same moment."""
        async with (
            self._pool.acquire(timeout=self._acquire_seconds) as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield conn

    async def _summaries(self, conn: Any, rows: Sequence[asyncpg.Record]) -> list[schemas.JobSummary]:
        ids = [row["id"] for row in rows]
        by_status: dict[str, dict[ImageStatus, int]] = defaultdict(dict)
        for row in await conn.fetch(_SQL.counts_of_jobs, ids):
            by_status[row["job_id"]][ImageStatus(row["status"])] = row["images"]
        costs = {row["job_id"]: row for row in await conn.fetch(_SQL.costs_of_jobs, ids)}
        return [self._summary(row, by_status[row["id"]], costs[row["id"]]) for row in rows]

    def _summary(
        self, row: asyncpg.Record, by_status: Mapping[ImageStatus, int], cost: asyncpg.Record
    ) -> schemas.JobSummary:
        counts = progress.count(by_status)
        job_id = row["id"]
        return schemas.JobSummary(
            id=job_id,
            status=row["status"],
            run=row["run"],
            seq=row["seq"],
            progress=progress.percent(counts),
            current_step=progress.current_step(JobStatus(row["status"]), counts),
            counts=schemas.Counts(
                total=counts.total,
                queued=counts.queued,
                active=counts.active,
                completed=counts.completed,
                failed=counts.failed,
                refused=counts.refused,
                canceled=counts.canceled,
                uncertain=counts.uncertain,
            ),
            cost=schemas.JobCost(
                estimate_usd=_usd(cost["estimate_microusd"]),
                actual_usd=format_usd(cost["actual_microusd"]),
                wasted_usd=format_usd(cost["wasted_microusd"]),
                uncertain_usd=_usd(cost["uncertain_microusd"]),
            ),
            metadata=row["metadata"],
            retry_count=row["retry_count"],
            priority=Priority(row["priority"]).word,
            not_before=row["not_before"],
            deadline_at=row["deadline_at"],
            deadline_passed=row["deadline_passed"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            completed_at=row["completed_at"],
            urls=schemas.JobUrls(
                self=self._links.job(job_id),
                events=self._links.job(job_id, "/events"),
                cancel=self._links.job(job_id, "/cancel"),
                retry=self._links.job(job_id, "/retry"),
            ),
        )

    def _image(self, job_id: str, row: asyncpg.Record, outputs: dict[str, schemas.Output] | None) -> schemas.Image:
        """Fields without a value of their own are left unset, and so are absent from the answer."""
        optional = ("style", "references", "failure_stage", "error")
        more: dict[str, Any] = {name: row[name] for name in optional if row[name] is not None}
        if row["status"] == ImageStatus.COMPLETED and outputs:
            more |= {"url": self._links.image(job_id, row["id"]), "outputs": outputs}
        return schemas.Image(
            id=row["id"],
            group=row["image_group"],
            status=row["status"],
            provider=row["provider"],
            model=row["model"],
            attempt_count=row["attempt_count"],
            retry_count=row["retry_count"],
            cost_usd=None if row["has_unknown"] else format_usd(row["known_microusd"]),
            started_at=row["started_at"],
            completed_at=row["completed_at"],
            **more,
        )

    async def _data_urls(self, renditions: Collection[asyncpg.Record]) -> dict[str, str]:
        """By key, in the images' order, as far as the bytes fit; what the store lacks keeps its link."""
        found: dict[str, str] = {}
        room = MAX_INLINE_BYTES
        for each in renditions:
            room -= each["length"]
            if room < 0:
                break
            try:
                data = await self._blobs.get(each["key"])
            except BlobMissing:
                continue
            found[each["key"]] = f"data:{each['mime']};base64,{base64.b64encode(data).decode()}"
        return found


def _no_such_job() -> NotFound:
    return NotFound("There is no such job.")


def _output(row: asyncpg.Record, url: str) -> schemas.Output:
    return schemas.Output(
        url=url,
        width=row["width_px"],
        height=row["height_px"],
        bytes=row["length"],
        format=row["format"],
        sha256=row["sha256"],
    )


def _usd(microusd: int | None) -> str | None:
    return None if microusd is None else format_usd(microusd)
