"""A job as its caller sees it, read in one snapshot of the database."""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from safelight.api import schemas
from safelight.api.dependencies import ApiDependencies
from safelight.api.edge.problems import RequestFault
from safelight.api.history.filters import History
from safelight.api.money import shown_amounts
from safelight.db.statements import load
from safelight.delivery.links import Links
from safelight.domain import progress
from safelight.domain.credits import Billing
from safelight.domain.errors import InvalidRequest, NotFound
from safelight.domain.ids import JobId, is_job_id
from safelight.domain.lifecycle import TERMINAL_IMAGE_STATUSES, ImageStatus, JobStatus
from safelight.domain.money import format_usd
from safelight.domain.order import Priority
from safelight.engine.estimates.forecast import NOTHING, Forecast, Pending, forecast
from safelight.engine.estimates.outlook import Lookout
from safelight.storage.blob_store import BlobMissing

MAX_INLINE_BYTES = 32_000_000
"""Pictures that one answer carries; the others keep their links. Chosen."""

_SQL, _HISTORY = load("read"), load("history")


class JobReader:
    """Reads jobs of one account at a time, or, without one, of any; a job of another account raises NotFound."""

    def __init__(self, deps: ApiDependencies, lookout: Lookout, links: Links) -> None:
        self._pool = deps.pool
        self._lookout = lookout
        self._acquire_seconds = deps.acquire_seconds
        self._blobs = deps.blobs
        self._links = links
        self._kept_for = timedelta(days=deps.image_retention_days) if deps.image_retention_days is not None else None

    async def job(self, job_id: str, *, account: str | None, inline: str | None = None) -> schemas.Job:
        """Raises InvalidRequest for an `inline` that is not one of the job's outputs."""
        if not is_job_id(job_id):
            raise _no_such_job()
        async with self._pool.acquire(timeout=self._acquire_seconds) as conn:
            rows = await conn.fetch(_SQL.job, job_id, account)
        if not rows:
            raise _no_such_job()
        first = rows[0]
        in_order = [output["name"] for output in first["outputs"]]
        if inline is not None and inline not in in_order:
            fault = RequestFault("inline", "The job has no such output.", in_query=True)
            raise InvalidRequest(fault.detail, faults=(fault,))
        data_urls = await self._data_urls(rows, inline) if inline is not None else {}
        ahead = await self._forecast(rows)
        counts = progress.count(Counter(ImageStatus(row["image_status"]) for row in rows))
        return schemas.Job(
            **self._fields(first, counts, _cost(rows), waits=ahead.waits),
            queue_position=ahead.queue_position,
            eta_seconds=round(ahead.eta.p50_seconds, 1) if ahead.eta is not None else None,
            eta_p90_seconds=round(ahead.eta.p90_seconds, 1) if ahead.eta is not None else None,
            outputs=[_ordered(output) for output in first["outputs"]],
            images=[self._image(row, self._outputs(row, in_order, data_urls)) for row in rows],
        )

    async def page(
        self, history: History, *, before: JobId | None, limit: int
    ) -> tuple[list[schemas.JobSummary], bool]:
        """The newest jobs before one, and whether there are more."""
        async with self._snapshot() as conn:
            await conn.execute(_HISTORY.plan_anew)
            rows = await conn.fetch(
                _HISTORY.jobs,
                history.account,
                list(history.statuses) or None,
                before,
                limit + 1,
                history.created_after,
                history.created_before,
                dict(history.metadata) if history.metadata is not None else None,
                any(each is not None for each in history.of_image),
                *history.of_image,
            )
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
        costs = {row["job_id"]: _job_cost(row) for row in await conn.fetch(_SQL.costs_of_jobs, ids)}
        return [
            schemas.JobSummary(**self._fields(row, progress.count(by_status[row["id"]]), costs[row["id"]]))
            for row in rows
        ]

    async def _forecast(self, rows: Sequence[asyncpg.Record]) -> Forecast:
        """Of what has not ended; nobody is asked for anything else."""
        left = [_pending(row) for row in rows if row["image_status"] not in TERMINAL_IMAGE_STATUSES]
        account = rows[0]["account"]
        outlook = await self._lookout.look() if left else None
        own = await self._lookout.own(account) if outlook is not None else None
        if outlook is None or own is None:
            return NOTHING
        return forecast(outlook, own, left, account=account, now=rows[0]["at"])

    def _fields(
        self, row: asyncpg.Record, counts: progress.Counts, cost: schemas.JobCost, *, waits: str | None = None
    ) -> dict[str, Any]:
        """Of a `JobSummary`."""
        job_id = row["id"]
        return {
            "id": job_id,
            "account": row["account"],
            "status": row["status"],
            "run": row["run"],
            "seq": row["seq"],
            "progress": progress.percent(counts),
            "current_step": progress.current_step(JobStatus(row["status"]), counts, waits=waits),
            "counts": schemas.Counts(
                total=counts.total,
                queued=counts.queued,
                active=counts.active,
                completed=counts.completed,
                failed=counts.failed,
                refused=counts.refused,
                canceled=counts.canceled,
                uncertain=counts.uncertain,
            ),
            "cost": cost,
            "metadata": row["metadata"],
            "retry_count": row["retry_count"],
            "priority": Priority(row["priority"]).word,
            "not_before": row["not_before"],
            "deadline_at": row["deadline_at"],
            "deadline_passed": row["deadline_passed"],
            "created_at": row["created_at"],
            "started_at": row["started_at"],
            "completed_at": row["completed_at"],
            "visibility": "private" if row["link_key"] is None else "link",
            "data_removed": row["removed_at"] is not None,
            "removed_at": row["removed_at"],
            "expires_at": self._expires_at(row),
            "urls": schemas.JobUrls(
                self=self._links.job(job_id),
                events=self._links.job(job_id, "/events"),
                cancel=self._links.job(job_id, "/cancel"),
                retry=self._links.job(job_id, "/retry"),
                archive=self._links.archive(job_id, account=row["account"]),
            ),
        }

    def _image(self, row: asyncpg.Record, outputs: dict[str, schemas.Output]) -> schemas.Image:
        """Fields without a value of their own are left unset, and so are absent from the answer."""
        optional = ("style", "aspect_ratio", "size", "references", "mask", "failure_stage", "error")
        more: dict[str, Any] = {name: row[name] for name in optional if row[name] is not None}
        if outputs:
            more |= {"url": self._link(row), "outputs": outputs}
        return schemas.Image(
            id=row["image_id"],
            group=row["image_group"],
            status=row["image_status"],
            provider=row["provider"],
            model=row["model"],
            attempt_count=row["attempt_count"],
            retry_count=row["image_retry_count"],
            cost_usd=None if row["has_unknown"] else format_usd(row["known_microusd"]),
            started_at=row["image_started_at"],
            completed_at=row["image_completed_at"],
            **more,
        )

    def _outputs(
        self, row: asyncpg.Record, in_order: Sequence[str], data_urls: Mapping[str, str]
    ) -> dict[str, schemas.Output]:
        """By name, in the order that the job asked for; of a completed image only."""
        return {
            each["name"]: schemas.Output(
                url=data_urls.get(each["key"]) or self._link(row, each["name"]),
                width=each["width_px"],
                height=each["height_px"],
                bytes=each["length"],
                format=each["format"],
                sha256=each["sha256"],
            )
            for each in sorted(row["renditions"] or (), key=lambda each: in_order.index(each["name"]))
        }

    def _link(self, row: asyncpg.Record, output: str | None = None) -> str:
        return self._links.image(row["id"], row["image_id"], output, account=row["account"], link_key=row["link_key"])

    def _expires_at(self, row: asyncpg.Record) -> datetime | None:
        """When retention removes it; a retry begins its time anew."""
        if self._kept_for is None or row["completed_at"] is None or row["removed_at"] is not None:
            return None
        return row["completed_at"] + self._kept_for

    async def _data_urls(self, rows: Sequence[asyncpg.Record], output: str) -> dict[str, str]:
        """By key, in the images' order, as far as the bytes fit; what the store lacks keeps its link."""
        found: dict[str, str] = {}
        room = MAX_INLINE_BYTES
        for each in (each for row in rows for each in row["renditions"] or () if each["name"] == output):
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


def _ordered(output: Mapping[str, Any]) -> schemas.OrderedOutput:
    box = {"width": output.get("width_px"), "height": output.get("height_px"), "fit": output.get("fit")}
    given = {name: value for name, value in box.items() if value is not None}
    return schemas.OrderedOutput(name=output["name"], format=output["format"], **given)


def _pending(row: asyncpg.Record) -> Pending:
    return Pending(
        provider=row["provider"],
        model=row["model"],
        place=(row["image_priority"], row["image_not_before"], row["id"]),
        is_taken=row["image_status"] != ImageStatus.QUEUED or row["is_admitted"],
        awaits_parents=row["awaits_parents"],
        sent_at=row["sent_at"],
    )


def _cost(rows: Sequence[asyncpg.Record]) -> schemas.JobCost:
    """Of one job, from its images."""
    estimates = [row["estimate_microusd"] for row in rows]
    is_unbounded = any(row["is_unbounded"] for row in rows)
    return _job_cost(
        {
            "estimate_microusd": sum(estimates) if None not in estimates else None,
            "actual_microusd": sum(row["actual_microusd"] for row in rows),
            "wasted_microusd": sum(row["wasted_microusd"] for row in rows),
            "uncertain_microusd": None if is_unbounded else sum(row["uncertain_microusd"] for row in rows),
            "charge": rows[0]["charge"],
        }
    )


def _job_cost(amounts: Mapping[str, Any]) -> schemas.JobCost:
    return schemas.JobCost(
        estimate_usd=_usd(amounts["estimate_microusd"]),
        actual_usd=format_usd(amounts["actual_microusd"]),
        wasted_usd=format_usd(amounts["wasted_microusd"]),
        uncertain_usd=_usd(amounts["uncertain_microusd"]),
        **_charged(amounts["charge"]),
    )


def _charged(charge: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the account is asked for; nothing where it is not billed."""
    if charge is None:
        return {}
    return shown_amounts(Billing(charge["currency"]), {"held": charge["held"], "captured": charge["captured"]})


def _usd(microusd: int | None) -> str | None:
    return None if microusd is None else format_usd(microusd)
