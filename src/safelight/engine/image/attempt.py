"""One claimed image, from the look back at earlier attempts to the answer of a paid call.

The steps, in their order; each is a method, each may end the way early. From `keep` on they are the `Keeper`'s, and a
job at the vendor is followed by `RemoteJobs` until it gets there:

    claim ─► look_back ─► commit ─► call ─► keep: stage ─► render ─► receive ─► finish ─► settle
              │   │          │       │ │     ▲       │         │                  │
              │   │          │       │ └► follow ────┴─────────┴── conclude ──────┤  (error, refusal, no picture)
              │   └──────────┼───────┼────► (a job that was submitted before)     │
              └── adopt ─────┼───────┼───────────────────────────────────────────►│  (bytes of an earlier attempt)
                             └───────┴── release / end                            (wait, canceled, budget spent)

Nothing here waits for another image, and nothing raises into the dispatcher: whatever happens, the database says where
the image stands, and the claim is the only door back in.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS, CONNECTION_LOST
from safelight.db.statements import load
from safelight.domain.attempts import Adopt, AttemptStatus, Buy, GiveUp, NextStep, Poll, WaitUntil
from safelight.domain.errors import Billed, ErrorKind
from safelight.domain.ids import AttemptId, ImageRowId, WorkerId, new_attempt_id
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.money import FREE
from safelight.engine import gates
from safelight.engine.failpoints import Failpoint, Failpoints
from safelight.engine.image import provider_book, settle
from safelight.engine.image.addresses import Addresses
from safelight.engine.image.advance import PlannedCall
from safelight.engine.image.keep import Keeper, StagingAway
from safelight.engine.image.lease import Hint, Lease
from safelight.engine.image.outcome import (
    AttemptEnd,
    Opened,
    Verdict,
    crashed,
    judge_error,
    judge_refusal,
    no_answer,
    no_such_provider,
    not_sent,
)
from safelight.engine.image.reference import NoReference, inputs_of
from safelight.engine.image.remote import SUBMIT_SECONDS, RemoteJobs
from safelight.engine.image.request import request_of
from safelight.engine.image.traces import asking, at_work, begin_attempt
from safelight.engine.image.writes import Writes
from safelight.engine.timing import Timing
from safelight.net.billable import BillableCall, CallNotSent, billable_call
from safelight.providers.provider import (
    ImageInput,
    ImageProvider,
    ImageResult,
    ProviderError,
    Refusal,
    RemoteHandle,
    RemoteProvider,
)
from safelight.tracing.spans import SpanName

_ATTEMPTS = load("attempts")

CRASH_LIMIT = 3
"""Owners that may die on one image without getting further before it ends as CRASHED."""

_CLOSE_SECONDS = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """A committed attempt and the monotonic moment after which not a byte of it may leave; `seconds` is all that the
    call may take. `is_watched`: a gate took note of answers when it was committed."""

    id: AttemptId
    deadline: float
    seconds: float
    is_watched: bool = True


@dataclass(slots=True, kw_only=True)
class AttemptPipeline:
    """Runs claimed images through their steps. One per worker process; what it holds of an image is its open call, and
    of a provider whether a gate takes note of answers, as far as it has heard."""

    pool: asyncpg.Pool
    worker_id: WorkerId
    providers: Mapping[str, ImageProvider]
    writes: Writes
    keeper: Keeper
    addresses: Addresses
    timing: Timing
    failpoints: Failpoints
    draining: asyncio.Event
    _open_calls: dict[ImageRowId, asyncio.Future[ImageResult | Refusal | RemoteHandle]] = field(
        default_factory=dict, init=False
    )
    _watched: set[str] = field(default_factory=set[str], init=False)
    _remote: RemoteJobs = field(init=False)

    def __post_init__(self) -> None:
        self._remote = RemoteJobs(
            pool=self.pool,
            providers=self.providers,
            keeper=self.keeper,
            timing=self.timing,
            failpoints=self.failpoints,
            draining=self.draining,
        )

    def abort(self, row_id: ImageRowId) -> None:
        """Closes the image's open call, if there is one: it is then booked as unknown."""
        call = self._open_calls.get(row_id)
        if call is not None:
            call.cancel()

    async def claim(self, hint: Hint) -> Lease | None:
        """The image that the hint names, if it is to be had."""
        return await self.writes.claim(hint)

    async def work(self, lease: Lease) -> None:
        """Takes a claimed image as far as it will go now."""
        with at_work(lease):
            await self._work(lease)

    async def _work(self, lease: Lease) -> None:
        if lease.crash_count >= CRASH_LIMIT:
            await settle.end(self.pool, lease, ImageStatus.FAILED, crashed(lease.crash_count))
            return
        self.failpoints.reach(Failpoint.CLAIMED)
        try:
            await self._go_on(lease)
        except StagingAway:
            await self.keeper.wait_for_storage(lease)

    async def _go_on(self, lease: Lease) -> None:
        """From where earlier attempts have left it. Raises StagingAway, having done nothing."""
        step = await self.look_back(lease)
        match step:
            case Adopt(attempt_id):
                await self.keeper.adopt(lease, attempt_id)
            case Poll(attempt_id):
                await self._remote.adopt(lease, attempt_id)
            case Buy():
                await self.buy(lease)
            case WaitUntil(at):
                await settle.release(self.pool, lease, at=at)
            case GiveUp():
                await settle.give_up(self.pool, lease, step)
            case None:
                pass

    async def look_back(self, lease: Lease) -> NextStep | None:
        """What earlier attempts allow; None when the image went another way here.

        A fresh image has nothing to look back at; what changes meanwhile is asked again in the commit. Staged bytes
        without a receipt get theirs first: they outrank every other finding. Raises StagingAway.
        """
        if lease.is_fresh and lease.may_buy and not self.draining.is_set():
            return Buy()
        for attempt in await self.pool.fetch(_ATTEMPTS.attempts_of, lease.row_id):
            if attempt["status"] in (AttemptStatus.SENT, AttemptStatus.SUBMITTED, AttemptStatus.UNKNOWN):
                staged = await self.keeper.staged(attempt["id"])
                if staged is not None:
                    await provider_book.insert_receipt(self.pool, staged[0])
        step = await provider_book.next_step_of(self.pool, lease)
        fenced = await self.pool.fetchrow(_ATTEMPTS.fence_image, lease.row_id, lease.status.value, lease.token)
        if fenced is None:
            return None
        if fenced["stop"] and not isinstance(step, WaitUntil | Poll):
            await settle.end_stopped(self.pool, lease, fenced["stop"])
            return None
        if isinstance(step, Buy) and (not lease.may_buy or self.draining.is_set()):
            await settle.release(self.pool, lease)
            return None
        return step

    async def buy(self, lease: Lease) -> None:
        """One paid call, from its committed row to its result."""
        provider = self.providers.get(lease.provider)
        if provider is None:
            await settle.end(self.pool, lease, ImageStatus.FAILED, no_such_provider(lease.provider))
            return
        if not await self.keeper.has_room():
            await settle.release(self.pool, lease, after_seconds=self.timing.sweep_seconds)
            return
        if lease.has_references and not await self.addresses.keep_for(lease):
            return
        await provider.prepare()
        if self.draining.is_set():
            await settle.release(self.pool, lease)
            return
        sent = await self.commit(lease, call_seconds=_call_seconds(provider, lease))
        if sent is None:
            return
        lease = lease.moved(ImageStatus.GENERATING)
        self.failpoints.reach(Failpoint.ATTEMPT_COMMITTED)
        match await self.call(provider, lease, sent):
            case ImageResult() as result:
                self.failpoints.reach(Failpoint.RECEIVED_UNSTAGED)
                report = partial(self._report_answer, lease) if self._is_watched(lease, sent) else None
                await self.keeper.keep(lease, sent.id, result, once_staged=report)
            case RemoteHandle() as handle:
                await self._remote.begin(lease, sent.id, handle)
            case end, verdict:
                await self.keeper.conclude(lease, sent.id, end, verdict)

    async def commit(self, lease: Lease, *, call_seconds: float | None = None) -> Sent | None:
        """The attempt's row is durable and the image is `generating`; nothing has left yet.

        None when the image went another way. The process's deadline is taken before the row's, so that it is never the
        later of the two. When the answer to the COMMIT is lost, the row itself says whether it came through.
        """
        call_seconds = call_seconds or lease.timeout_seconds
        sent = Sent(new_attempt_id(), time.monotonic() + call_seconds, call_seconds)
        try:
            opened = await self.writes.open_attempt(PlannedCall(lease=lease, attempt_id=sent.id, seconds=call_seconds))
        except CONNECTION_LOST:
            if not await self.pool.fetchval(_ATTEMPTS.is_open, sent.id, lease.token, timeout=ACQUIRE_SECONDS):
                raise
            return sent
        if not isinstance(opened, Opened):
            return None
        begin_attempt(opened.number)
        (self._watched.add if opened.is_watched else self._watched.discard)(lease.provider)
        return replace(sent, is_watched=opened.is_watched)

    async def call(
        self, provider: ImageProvider, lease: Lease, sent: Sent
    ) -> ImageResult | RemoteHandle | tuple[AttemptEnd, Verdict]:
        """The vendor's answer, or what its absence means.

        The provider's gates have heard of it, but for a picture, which is staged first, and for a job, which is judged
        by how it ends.
        """
        try:
            left_seconds = sent.deadline - time.monotonic()
            inputs = await inputs_of(self.pool, self.keeper.blobs, lease, within_seconds=left_seconds)
            with asking(SpanName.PROVIDER_SUBMIT, lease.provider, lease.model) as told:
                answer = told(await self._answer(provider, lease, sent, inputs))
        except NoReference as error:
            return error.end, error.verdict
        except ProviderError as error:
            _let_go(error)
            self._watched.add(lease.provider)
            await gates.report_failure(
                self.pool,
                provider=lease.provider,
                model=lease.model,
                row_id=lease.row_id,
                error=error,
                timing=self.timing,
            )
            return judge_error(error)
        if not isinstance(answer, Refusal):
            return answer
        if self._is_watched(lease, sent):
            await self._report_answer(lease)
        return judge_refusal(answer)

    def _is_watched(self, lease: Lease, sent: Sent) -> bool:
        """Whether an answer that came now has something to end: failures may have been counted while it was awaited."""
        return sent.is_watched or lease.provider in self._watched

    async def _report_answer(self, lease: Lease) -> None:
        await gates.report_answer(self.pool, provider=lease.provider, model=lease.model, row_id=lease.row_id)

    async def _answer(
        self, provider: ImageProvider, lease: Lease, sent: Sent, inputs: tuple[ImageInput, ...]
    ) -> ImageResult | Refusal | RemoteHandle | tuple[AttemptEnd, Verdict]:
        """The call itself, under one wall-clock deadline. Raises ProviderError.

        Not a byte leaves after the deadline, however long this process was stopped since the commit.
        """
        remaining = sent.deadline - time.monotonic()
        with billable_call(timeout_seconds=remaining) as call:
            request = request_of(lease, attempt_key=sent.id, inputs=inputs)
            submitted = asyncio.ensure_future(provider.submit(request))
            self._open_calls[lease.row_id] = submitted
            try:
                # A complete answer counts even when the deadline passes while it is being read: it is paid for.
                await asyncio.wait((submitted,), timeout=max(remaining, 0.0))
                return submitted.result() if submitted.done() else _timed_out(call, sent.seconds)
            except CallNotSent as error:
                return not_sent(str(error))
            except Exception as error:
                if call.has_left or isinstance(error, ProviderError):
                    raise
                log.error("a provider broke before it sent anything", provider=lease.provider, exc_info=error)
                raise _broke_unsent(error) from None
            except asyncio.CancelledError:
                if not submitted.cancelled():
                    raise
                return _aborted(call)
            finally:
                self._open_calls.pop(lease.row_id, None)
                if not submitted.done():
                    submitted.cancel()  # closes the connection, so that the call can no longer answer
                    await asyncio.wait((submitted,), timeout=_CLOSE_SECONDS)


def _let_go(error: ProviderError) -> None:
    """The frames that a failure came through hold the vendor's answer, and are held by it until a full collection."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__context__


def _call_seconds(provider: ImageProvider, lease: Lease) -> float:
    """A vendor that answers with a job has less time for that than one that answers with the picture."""
    if isinstance(provider, RemoteProvider):
        return min(lease.timeout_seconds, SUBMIT_SECONDS)
    return lease.timeout_seconds


def _timed_out(call: BillableCall, seconds: float) -> tuple[AttemptEnd, Verdict]:
    """Raises ProviderError when the call had left."""
    if not call.has_left:
        return not_sent("the attempt's deadline passed before a connection was open")
    raise ProviderError(
        f"The vendor did not answer within {seconds:g} seconds.",
        kind=ErrorKind.TIMEOUT,
        billed=Billed.UNKNOWN,
        code="TIMEOUT",
    )


def _broke_unsent(error: Exception) -> ProviderError:
    """Without the error's own words, which may quote the prompt."""
    return ProviderError(
        type(error).__name__, kind=ErrorKind.TEMPORARY, billed=Billed.NO, code="CLIENT_FAILED", cost=FREE
    )


def _aborted(call: BillableCall) -> tuple[AttemptEnd, Verdict]:
    if not call.has_left:
        return not_sent("the caller canceled before a connection was open")
    return no_answer("ABORTED", "The call was closed because the caller canceled.")
