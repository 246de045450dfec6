"""Jobs that are made when their time has come: at least looked at every few seconds, at most one job for each run.

    next_run_at has come ──(1) write down──► run: due ──(2) submit──► a job ──(3) record──► run: submitted, joined
                               and move next_run_at        under the run's key    └─ refused ─► run: failed, notice

1. One statement writes the runs down and moves the schedule on. A crash before it leaves the schedule due; after it the
   runs are there to be seen to. So no time is skipped, and none is written down twice.
2. `submit` makes the job under a key that is the run's own (or the day's, with `unique_per: day`). Doing it again,
   after a crash, after a COMMIT whose answer was lost, or in two processes at once, finds that job.
3. The run learns its job's id. A crash before it repeats 2, which finds the job; what the template says by then does
   not matter any more.

Every API and worker process ticks; an advisory lock lets one of them work at a time, which spares effort and is not
needed for any of the above. Time is the database's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

import asyncpg
import orjson
import structlog
from structlog.contextvars import bound_contextvars

from safelight.db.pool import ACQUIRE_SECONDS, TRANSIENT
from safelight.db.statements import load
from safelight.domain.credits import CreditPrices
from safelight.domain.errors import InvalidRequest
from safelight.domain.ids import JobId, ScheduleId
from safelight.domain.order import JobOrder
from safelight.domain.recurrence import CatchUp, Plan, Recurrence, cron_fields, zone_of
from safelight.domain.style import Style
from safelight.domain.template import filled
from safelight.engine.accounts.styles import styles_of
from safelight.engine.orders.submit import submit
from safelight.engine.schedules.timetable import ask_for_run, terms_of
from safelight.tracing.spans import Attribute, SpanName, span

KEPT_RUNS = 1000
"""Of each schedule, the newest. Chosen."""

_SQL = load("schedules")
_SUBMIT = load("submit")

_SCHEDULES_A_TICK = 100
_TICK_AT_MOST_SECONDS = 4.0
"""The rest is left to the next tick: an idle transaction that holds the lock is ended by the server after 10."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, _MOST_TRIES = 5.0, 300.0, 10
"""Of a run whose job could not be made for reasons of our own: given up after about half an hour. Chosen."""
_BROKEN_PAUSE = timedelta(hours=1)
_FAULTS_KEPT = 100

log = structlog.get_logger(__name__)


class Place(Protocol):
    """From the body of a job to its order. Raises InvalidRequest that lists every fault.

    `styles` are those that the account can use; None: the built-in ones alone.
    """

    def __call__(
        self,
        document: Mapping[str, Any],
        *,
        account: str,
        idempotency_key: str | None,
        styles: Mapping[str, Style] | None = None,
    ) -> JobOrder: ...


class RunStatus(StrEnum):
    DUE = "due"
    """Written down; its job is about to be made."""
    SUBMITTED = "submitted"
    JOINED = "joined"
    """An earlier run of the same day has made the job."""
    FAILED = "failed"
    """The template was refused."""
    SKIPPED = "skipped"
    """Its time had passed, and nobody wants to make up for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """A run that is to be made a job of, with what its schedule says now."""

    id: int
    schedule_id: str
    trigger: str
    scheduled_at: datetime
    local_day: date
    tries: int
    account: str
    name: str
    timezone: str
    unique_per: str | None
    job: str

    @property
    def keys(self) -> tuple[str, str]:
        """The idempotency key of its job, and the one that it would have without, or with, `unique_per: day`."""
        of_day = f"{self.schedule_id}/{self.local_day:%Y-%m-%d}"
        own = f"{self.schedule_id}/run/{self.id}"
        if self.trigger == "cron":
            own = f"{self.schedule_id}/{self.scheduled_at:%Y-%m-%dT%H:%M:%SZ}"
        return (of_day, own) if self.unique_per == "day" else (own, of_day)


class Schedules:
    """Makes the jobs of runs. `place` may be slow to load; it is called when the first run is due.

    `nudge` is called when jobs were made; accounts that pay in credits pay `prices`. `margin_seconds` stands for what a
    job takes while that is not known.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        place: Place,
        *,
        run_limit_seconds: float,
        margin_seconds: float = 600.0,
        nudge: Callable[[], object] = lambda: None,
        prices: CreditPrices = CreditPrices(),  # noqa: B008 - a constant
    ) -> None:
        self._pool = pool
        self._place = place
        self._run_limit_seconds = run_limit_seconds
        self._margin_seconds = margin_seconds
        self._nudge = nudge
        self._prices = prices

    async def run(self, *, tick_seconds: float) -> None:
        """Until cancelled, which is as safe as a crash. Processes that start together do not tick together."""
        await asyncio.sleep(random.random() * tick_seconds)  # noqa: S311 - spreads load, guards nothing
        while True:
            try:
                await self.tick()
            except Exception as error:  # the next tick finds the same work again
                log.warning("schedules could not be looked at", error=type(error).__name__)
            await asyncio.sleep(tick_seconds)

    async def tick(self) -> None:
        """What has come is written down and made jobs of, as far as a few seconds go; alarms are given. Nothing when
        another process is at it."""
        if not await self._pool.fetchval(_SQL.has_work):
            return
        ends_at = time.monotonic() + _TICK_AT_MOST_SECONDS
        async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as guard, guard.transaction():
            if not await guard.fetchval(_SQL.lock_tick):
                return
            for row in await self._pool.fetch(_SQL.due_schedules, _SCHEDULES_A_TICK):
                await self._write_down(row)
            while time.monotonic() < ends_at and (row := await self._pool.fetchrow(_SQL.next_due_run)):
                await self._attempt(_Due(**row))
            for row in await self._pool.fetch(_SQL.sound_alarms, self._margin_seconds):
                log.warning("a schedule is at risk", schedule=row["schedule"], reason=row["reason"])

    async def run_now(self, schedule_id: ScheduleId, *, account: str, request_key: str | None) -> tuple[int, bool]:
        """The number of a run that has its job, and whether it was asked for under this key before.

        Raises NotFound, and InvalidRequest when the template is refused: then no run was made.
        """
        terms, now = await terms_of(self._pool, schedule_id, account=account)
        try:
            recurrence = terms.recurrence
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        run_id: int | None = await self._pool.fetchval(_SQL.run_of_key, schedule_id, request_key)
        is_known = run_id is not None
        if run_id is None:
            today = recurrence.day_of(now)
            if terms.unique_per is None or not await self._pool.fetchval(_SQL.job_of_day, schedule_id, today, 0):
                document = filled(terms.job, now.astimezone(recurrence.zone))
                styles = await styles_of(self._pool, account=account)
                self._place(document, account=account, idempotency_key=None, styles=styles)
            run_id, is_known = await ask_for_run(self._pool, schedule_id, terms, now, request_key=request_key)
        if (row := await self._pool.fetchrow(_SQL.due_run, run_id)) is not None:
            await self._make(_Due(**row))
        return run_id, is_known

    async def _write_down(self, row: asyncpg.Record) -> None:
        due_at, now = row["next_run_at"], row["now"]
        try:
            recurrence = Recurrence(cron_fields(row["cron"]), zone_of(row["timezone"]))
            plan = recurrence.plan(due_at=due_at, now=now, catch_up=CatchUp(row["catch_up"]))
        except ValueError:  # kept by a release that knew more zones than this one: its run will fail and say so
            plan, recurrence = Plan(run_at=(due_at,), skipped_at=None, next_at=now + _BROKEN_PAUSE), None
        times = [*plan.run_at, *([plan.skipped_at] if plan.skipped_at is not None else [])]
        ready_by = row["ready_by"]
        await self._pool.execute(
            _SQL.write_down,
            row["id"],
            due_at,
            plan.next_at,
            times,
            [recurrence.day_of(at) if recurrence is not None else at.date() for at in times],
            [recurrence.ready_at(at, ready_by) if recurrence is not None and ready_by else None for at in times],
            [RunStatus.SKIPPED if at == plan.skipped_at else RunStatus.DUE for at in times],
            KEPT_RUNS,
        )
        log.info("a schedule's time has come", schedule=row["name"], runs=len(plan.run_at), next_at=str(plan.next_at))

    async def _attempt(self, due: _Due) -> None:
        """Made, refused, or put off. Raises what the database raises that is away."""
        attributes = {Attribute.SCHEDULE_ID: due.schedule_id}
        try:
            with span(SpanName.SCHEDULE, attributes=attributes) as run, bound_contextvars(**run.log_fields):
                await self._make(due)
        except InvalidRequest:
            return  # recorded
        except TRANSIENT as error:  # nobody's fault, so it does not count; the next in line need not meet it
            log.warning("a run has to wait", schedule=due.name, run=due.id, error=type(error).__name__)
            await self._pool.execute(_SQL.let_wait, due.id, _FIRST_PAUSE_SECONDS)
        except Exception as error:  # one run that cannot be made holds up no other
            log.error("a run could not be made a job of", schedule=due.name, run=due.id, exc_info=error)
            if due.tries + 1 < _MOST_TRIES:
                await self._pool.execute(_SQL.put_off, due.id, due.tries, _FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS)
            else:
                await self._fail(due, InvalidRequest("Safelight failed on it; its log says how."))

    async def _make(self, due: _Due) -> None:
        status, job_id = await self._job(due)
        await self._pool.execute(_SQL.record_job, due.id, status, job_id)
        self._nudge()

    async def _job(self, due: _Due) -> tuple[RunStatus, JobId]:
        if due.unique_per == "day":
            first: str | None = await self._pool.fetchval(_SQL.job_of_day, due.schedule_id, due.local_day, due.id)
            if first is not None:
                return RunStatus.JOINED, JobId(first)
        key, key_of_other_rule = due.keys
        made: str | None = await self._pool.fetchval(
            _SQL.job_of_run, due.account, key, key_of_other_rule, due.schedule_id
        )
        if made is not None:
            return RunStatus.SUBMITTED, JobId(made)
        styles = await styles_of(self._pool, account=due.account)
        try:
            order = self._order(due, key, styles)
        except InvalidRequest as refusal:
            await self._fail(due, refusal)
            raise
        try:
            accepted = await submit(self._pool, order, run_limit_seconds=self._run_limit_seconds, prices=self._prices)
        except InvalidRequest as refusal:  # the same run, made elsewhere just now, of a template that has changed since
            earlier = await self._pool.fetchrow(_SUBMIT.job_of_key, due.account, key)
            if earlier is None:
                await self._fail(due, refusal)
                raise
            return RunStatus.SUBMITTED, JobId(earlier["id"])
        return RunStatus.SUBMITTED, accepted.job_id

    def _order(self, due: _Due, key: str, styles: Mapping[str, Style]) -> JobOrder:
        try:
            local_time = due.scheduled_at.astimezone(zone_of(due.timezone))
        except ValueError as error:
            raise InvalidRequest(str(error)) from None
        document = filled(orjson.loads(due.job), local_time)
        return self._place(document, account=due.account, idempotency_key=key, styles=styles)

    async def _fail(self, due: _Due, refusal: InvalidRequest) -> None:
        faults = [asdict(fault) for fault in refusal.faults[:_FAULTS_KEPT]]
        await self._pool.execute(_SQL.fail_run, due.id, refusal.detail, faults)
        log.warning("a schedule's job was refused", schedule=due.name, run=due.id, faults=len(refusal.faults))
