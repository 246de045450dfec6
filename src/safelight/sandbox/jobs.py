"""Jobs: work that a vendor takes at once, and ends when it is done, whether or not anybody asks after it.

    QUEUED ──► RUNNING ──► SUCCEEDED | FAILED
      │           └──────► CANCELED             by its owner or its deadline, where the vendor stops what runs
      └──► CANCELED | ABORTED                   the same before it started: never charged

Each job is charged once, at its end. `/control/hold` keeps jobs running: they are taken and looked at as ever, and end
after the release. Jobs live in memory: a sandbox that was restarted knows none, and has their charges in its file.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from starlette.requests import ClientDisconnect, Request

from safelight.sandbox.desk import Desk, Endpoint, gone, origin_of, respond, scenario_of
from safelight.sandbox.faults import Directive, Fault, Plan, served
from safelight.sandbox.job_outputs import JobOrder, Output, make_outputs
from safelight.sandbox.protocol import Rejected, Wire
from safelight.sandbox.spoiling import spoilt
from safelight.sandbox.vendor import Call, Vendor
from safelight.sandbox.wire import CUT, Answer

_FAILS = frozenset({Fault.FAILED, Fault.REFUSE, Fault.REFUSE_PROMPT})
_MOST_JOBS = 20_000

JOB_FAULTS = frozenset(
    {
        Fault.NO_BODY,
        Fault.NO_ID,
        Fault.FOREIGN_URLS,
        Fault.FAILED,
        Fault.CANCELED,
        Fault.NO_PICTURES,
        Fault.EXTRA_PICTURE,
        Fault.SAME_TWICE,
        Fault.DATA_URI,
        Fault.INTERNAL_URL,
        Fault.NO_USAGE,
        Fault.REFUSE,
        Fault.REFUSE_PROMPT,
        Fault.RATE_LIMIT_DATE,
        Fault.ERROR_DETAIL,
        Fault.QUEUED,
        Fault.POLL,
        Fault.RESULT,
        Fault.FILE,
    }
)
"""What every vendor of jobs has beyond `COMMON`."""


class Standing(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ABORTED = "aborted"


_Ordered = TypeVar("_Ordered", bound=JobOrder)


@dataclass(slots=True, kw_only=True)
class Job(Generic[_Ordered]):
    """`origin` is the sandbox as the caller addressed it, `base_path` where on it the vendor is, scenario included.

    `outputs` are made while it runs, and to be shown once it succeeded, until it `is_removed`. `looks` are counted by
    what is scripted for them.
    """

    id: str
    call: Call
    order: _Ordered
    plan: Plan
    origin: str
    base_path: str
    standing: Standing = Standing.QUEUED
    started_at: datetime | None = None
    ended_at: datetime | None = None
    outputs: tuple[Output, ...] = ()
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    gone_at: float | None = None
    looks: Counter[Fault] = field(default_factory=Counter[Fault])
    stop: asyncio.Future[Standing] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def has_ended(self) -> bool:
        return self.ended.is_set()

    @property
    def fault(self) -> Fault:
        return self.plan.directive.fault

    @property
    def made(self) -> int:
        """How many pictures it made, and charged for."""
        if self.standing is not Standing.SUCCEEDED or self.fault is Fault.NO_PICTURES:
            return 0
        return self.order.count + (self.fault is Fault.EXTRA_PICTURE)

    @property
    def ran_seconds(self) -> float:
        if self.started_at is None:
            return 0.0
        return ((self.ended_at or datetime.now(UTC)) - self.started_at).total_seconds()

    @property
    def is_removed(self) -> bool:
        """Its files, and what it made, are no longer kept."""
        return self.gone_at is not None and time.monotonic() >= self.gone_at

    def asides(self, kind: Fault) -> list[Directive]:
        return [each for each in self.plan.asides if each.fault is kind]

    def url(self, path: str) -> str:
        """An address of the vendor's, or with `foreign-urls` the same one under another name of this machine."""
        origin = self.origin
        if self.fault is Fault.FOREIGN_URLS:
            ours, other = ("localhost", "127.0.0.1") if "://localhost" in origin else ("127.0.0.1", "localhost")
            origin = origin.replace(ours, other)
        return origin + self.base_path + path


@dataclass(slots=True, kw_only=True)
class Jobs(Generic[_Ordered]):
    """One vendor's jobs.

    `stops_running`: a running job that is canceled, or overdue, ends there and is charged in full; without it
    such a job goes on to its end. `retention_seconds` is for how long after it results and files are kept.
    """

    desk: Desk
    wire: Wire
    new_id: Callable[[], str]
    stops_running: bool
    retention_seconds: float
    _jobs: dict[str, Job[_Ordered]] = field(default_factory=dict[str, "Job[_Ordered]"])

    @property
    def vendor(self) -> Vendor:
        return self.desk.vendor

    def find(self, job_id: str) -> Job[_Ordered] | None:
        return self._jobs.get(job_id)

    def buying(
        self,
        read: Callable[[Request, Call], Awaitable[_Ordered]],
        receipt: Callable[[Job[_Ordered], Request], Awaitable[Answer]],
    ) -> Endpoint:
        """A route that takes an order and answers with a receipt, after which the job runs by itself."""

        async def endpoint(request: Request) -> Any:
            call = self.desk.seen(self.wire, request)
            try:
                order, plan = await self.desk.planned(self.wire, request, call, read)
            except Rejected as rejected:
                return respond(self.vendor.reject(call, rejected))
            except ClientDisconnect:
                return respond(CUT)
            return respond(await self._bought(call, order, plan, request, receipt))

        return endpoint

    async def cancel(self, job: Job[_Ordered]) -> bool:
        """False when it had ended. It has ended on return, unless it runs and is not stopped by that."""
        if job.has_ended:
            return False
        if not job.stop.done():
            job.stop.set_result(Standing.CANCELED)
        if self.stops_running or job.standing is Standing.QUEUED:
            await job.ended.wait()
        return True

    async def look(
        self, job: Job[_Ordered], request: Request, kinds: Sequence[Fault], answer: Callable[[], Answer]
    ) -> Answer:
        """The answer, or what is scripted for this look, which is one of these kinds; the first script wins."""
        for kind in kinds:
            job.looks[kind] += 1
            aside = served(job.asides(kind), job.looks[kind])
            if aside is not None and aside.within is not None:
                return await self._troubled(aside.within, job, request, answer())
        return answer()

    async def _bought(
        self,
        call: Call,
        order: _Ordered,
        plan: Plan,
        request: Request,
        receipt: Callable[[Job[_Ordered], Request], Awaitable[Answer]],
    ) -> Answer:
        directive = plan.directive
        if directive.fault is Fault.HANG:
            async with self.desk.watched(call, request):
                await asyncio.wait([self.vendor.begin(call, self._hang(call, plan))])
            return CUT
        if refused := self.wire.error(directive, model=call.model):
            self.vendor.end(call, plan.outcome, microusd=0)
            return refused
        job = self._start(call, order, plan, request)
        async with self.desk.watched(call, request):
            given = await receipt(job, request)
        if directive.fault is Fault.NO_BODY:
            return replace(given, body=b"")
        return await asyncio.to_thread(spoilt, given, directive) if directive.fault is not Fault.OK else given

    async def _hang(self, call: Call, plan: Plan) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(call.caller_gone.wait(), plan.directive.seconds)
        self.vendor.end(call, plan.outcome, microusd=0)

    def _start(self, call: Call, order: _Ordered, plan: Plan, request: Request) -> Job[_Ordered]:
        scenario = scenario_of(request)
        job = Job(
            id=self.new_id(),
            call=call,
            order=order,
            plan=plan,
            origin=origin_of(request),
            base_path=f"/{scenario}/{self.wire.name}" if scenario else f"/{self.wire.name}",
        )
        self._jobs[job.id] = job
        self._forget_the_oldest()
        self.vendor.begin(call, self._run(job))
        return job

    def _forget_the_oldest(self) -> None:
        while len(self._jobs) > _MOST_JOBS:
            oldest = next(iter(self._jobs.values()))
            if not oldest.has_ended:
                return
            del self._jobs[oldest.id]

    async def _run(self, job: Job[_Ordered]) -> None:
        deadline = None
        if job.order.deadline_seconds is not None:
            loop = asyncio.get_running_loop()
            deadline = loop.call_later(job.order.deadline_seconds, _overdue, job)
        try:
            if never := await _stopped(job, asyncio.sleep(job.plan.queued_seconds)):
                self._end(job, never, outcome=never.value)
            elif job.fault is Fault.ABORTED:
                self._end(job, Standing.ABORTED, outcome=job.plan.outcome)
            else:
                await self._work(job)
        finally:
            if deadline is not None:
                deadline.cancel()

    async def _work(self, job: Job[_Ordered]) -> None:
        job.standing, job.started_at = Standing.RUNNING, datetime.now(UTC)
        self.vendor.announce()
        if job.order.flaw is not None:
            self._end(job, Standing.FAILED, outcome=f"rejected {job.order.flaw}")
            return
        if not self.stops_running:
            await self._generate(job)
        elif await _stopped(job, self._generate(job)):
            stopped = Standing.CANCELED  # whatever stopped it: it had started
            self._end(job, stopped, outcome=stopped.value, microusd=job.order.picture_microusd * job.order.count)
            return
        if job.fault in _FAILS:
            self._end(job, Standing.FAILED, outcome=job.plan.outcome)
        elif job.fault is Fault.CANCELED:
            self._end(job, Standing.CANCELED, outcome=job.plan.outcome)
        else:
            job.standing = Standing.SUCCEEDED
            microusd = job.order.picture_microusd * job.made
            self._end(job, Standing.SUCCEEDED, outcome=job.plan.outcome, microusd=microusd)

    async def _generate(self, job: Job[_Ordered]) -> None:
        await asyncio.sleep(self.vendor.takes_seconds(job.call, job.plan))
        if job.fault not in _FAILS | {Fault.CANCELED, Fault.NO_PICTURES}:
            job.outputs = await make_outputs(
                job.order, job.plan, vendor=self.vendor, origin=job.origin, is_removed=lambda: job.is_removed
            )
        await self.vendor.released()

    def _end(self, job: Job[_Ordered], standing: Standing, *, outcome: str, microusd: int = 0) -> None:
        if standing is not Standing.SUCCEEDED:
            job.outputs = ()
        job.standing, job.ended_at = standing, datetime.now(UTC)
        job.gone_at = time.monotonic() + self.retention_seconds
        self.vendor.end(job.call, outcome, microusd=microusd)
        job.ended.set()

    async def _troubled(self, trouble: Directive, job: Job[_Ordered], request: Request, whole: Answer) -> Answer:
        if trouble.fault is Fault.HANG:
            await request.body()
            with suppress(TimeoutError):
                await asyncio.wait_for(gone(request), trouble.seconds)
            return CUT
        if trouble.fault is Fault.NO_BODY:
            return replace(whole, body=b"")
        error = self.wire.error(trouble, model=job.order.model)
        return error or await asyncio.to_thread(spoilt, whole, trouble)


def _overdue(job: Job[Any]) -> None:
    if not job.stop.done():
        job.stop.set_result(Standing.ABORTED)


async def _stopped(job: Job[Any], work: Coroutine[Any, Any, None]) -> Standing | None:
    """How the job ends, if it was stopped before or just when the work was done; else None. Raises what work raises."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task, job.stop], return_when=asyncio.FIRST_COMPLETED)
        if job.stop.done():
            return job.stop.result()
        await task
        return None
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
