"""One claimed image, from the look back at earlier attempts to the answer of a paid call.

The steps, in their order; each is a method, each may end the way early. From `keep` on they are the `Keeper`'s:

    claim ─► look_back ─► commit ─► call ─► keep: stage ─► render ─► receive ─► finish ─► settle
               │             │        │              │         │                  │
               │             │        └──────────────┴─────────┴── conclude ──────┤  (error, refusal, no picture)
               └── adopt ────┼───────────────────────────────────────────────────►│  (bytes of an earlier attempt)
                             └── release / end                                    (wait, canceled, budget spent)

Nothing here waits for another image, and nothing raises into the dispatcher: whatever happens, the database says where
the image stands, and the claim is the only door back in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS, CONNECTION_LOST
from safelight.db.statements import load
from safelight.domain.attempts import Adopt, AttemptStatus, Buy, GiveUp, WaitUntil
from safelight.domain.ids import AttemptId, ImageRowId, WorkerId, new_attempt_id
from safelight.domain.lifecycle import ImageStatus
from safelight.engine import settle
from safelight.engine.failpoints import Failpoint, Failpoints
from safelight.engine.keep import Keeper
from safelight.engine.lease import Hint, Lease, claim
from safelight.engine.outcome import (
    AttemptEnd,
    Verdict,
    crashed,
    judge_error,
    judge_refusal,
    no_answer,
    no_such_provider,
    not_sent,
)
from safelight.engine.timing import Timing
from safelight.net.billable import BillableCall, CallNotSent, billable_call
from safelight.providers.provider import ImageProvider, ImageRequest, ImageResult, ProviderError, Refusal

_ATTEMPTS = load("attempts")

CRASH_LIMIT = 3
"""Owners that may die on one image without getting further before it ends as CRASHED."""

_CLOSE_SECONDS = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """A committed attempt and the monotonic moment after which not a byte of it may leave."""

    id: AttemptId
    deadline: float


@dataclass(slots=True, kw_only=True)
class AttemptPipeline:
    """Runs claimed images through their steps. One per worker process; what it holds of an image is its open call."""

    pool: asyncpg.Pool
    worker_id: WorkerId
    providers: Mapping[str, ImageProvider]
    keeper: Keeper
    timing: Timing
    failpoints: Failpoints
    draining: asyncio.Event
    _open_calls: dict[ImageRowId, asyncio.Future[ImageResult | Refusal]] = field(default_factory=dict, init=False)

    def abort(self, row_id: ImageRowId) -> None:
        """Closes the image's open call, if there is one: it is then booked as unknown."""
        call = self._open_calls.get(row_id)
        if call is not None:
            call.cancel()

    async def claim(self, hint: Hint) -> Lease | None:
        """The image that the hint names, if it is to be had."""
        return await claim(self.pool, hint, worker_id=self.worker_id, lease_seconds=self.timing.lease_seconds)

    async def work(self, lease: Lease) -> None:
        """Takes a claimed image as far as it will go now."""
        if lease.crash_count >= CRASH_LIMIT:
            await settle.end(self.pool, lease, ImageStatus.FAILED, crashed(lease.crash_count))
            return
        self.failpoints.reach(Failpoint.CLAIMED)
        step = await self.look_back(lease)
        match step:
            case Adopt(attempt_id):
                await self.keeper.adopt(lease, attempt_id)
            case Buy():
                await self.buy(lease)
            case WaitUntil(at):
                await settle.release(self.pool, lease, at=at)
            case GiveUp():
                await settle.end(self.pool, lease, *settle.given_up(step, last=None))
            case None:
                pass

    async def look_back(self, lease: Lease) -> Adopt | Buy | WaitUntil | GiveUp | None:
        """What earlier attempts allow; None when the image went another way here.

        A fresh image has nothing to look back at; what changes meanwhile is asked again in the commit. Staged bytes
        without a receipt get theirs first: they outrank every other finding.
        """
        if lease.is_fresh and lease.may_buy and not self.draining.is_set():
            return Buy()
        for attempt in await self.pool.fetch(_ATTEMPTS.attempts_of, lease.row_id):
            if attempt["status"] in (AttemptStatus.SENT, AttemptStatus.UNKNOWN):
                staged = await self.keeper.staged(attempt["id"])
                if staged is not None:
                    await settle.insert_receipt(self.pool, staged[0])
        step = await settle.next_step_of(self.pool, lease)
        fenced = await self.pool.fetchrow(_ATTEMPTS.fence_image, lease.row_id, lease.status.value, lease.token)
        if fenced is None:
            return None
        if fenced["stop"] and not isinstance(step, WaitUntil):
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
        sent = await self.commit(lease)
        if sent is None:
            return
        lease = lease.moved(ImageStatus.GENERATING)
        self.failpoints.reach(Failpoint.ATTEMPT_COMMITTED)
        answer = await self.call(provider, lease, sent)
        if isinstance(answer, ImageResult):
            self.failpoints.reach(Failpoint.RECEIVED_UNSTAGED)
            await self.keeper.keep(lease, sent.id, answer)
        else:
            await self.keeper.conclude(lease, sent.id, *answer)

    async def commit(self, lease: Lease) -> Sent | None:
        """The attempt's row is durable and the image is `generating`; nothing has left yet.

        None when the image went another way. The process's deadline is taken before the row's, so that it is never the
        later of the two. When the answer to the COMMIT is lost, the row itself says whether it came through.
        """
        sent = Sent(new_attempt_id(), time.monotonic() + lease.timeout_seconds)
        try:
            opened = await settle.open_attempt(self.pool, lease, sent.id, grace_seconds=self.timing.grace_seconds)
        except CONNECTION_LOST:
            if not await self.pool.fetchval(_ATTEMPTS.is_open, sent.id, lease.token, timeout=ACQUIRE_SECONDS):
                raise
            return sent
        return sent if isinstance(opened, settle.Opened) else None

    async def call(self, provider: ImageProvider, lease: Lease, sent: Sent) -> ImageResult | tuple[AttemptEnd, Verdict]:
        """The vendor's answer, or what its absence means; under one wall-clock deadline.

        Not a byte leaves after the deadline, however long this process was stopped since the commit.
        """
        request = ImageRequest(
            model=lease.model,
            prompt=lease.prompt,
            attempt_key=sent.id,
            timeout_seconds=lease.timeout_seconds,
            **{k: v for k, v in lease.options.items() if v is not None},
        )
        remaining = sent.deadline - time.monotonic()
        with billable_call(timeout_seconds=remaining) as call:
            submitted = asyncio.ensure_future(provider.submit(request))
            self._open_calls[lease.row_id] = submitted
            try:
                # A complete answer counts even when the deadline passes while it is being read: it is paid for.
                await asyncio.wait((submitted,), timeout=max(remaining, 0.0))
                if not submitted.done():
                    return _timed_out(call, lease.timeout_seconds)
                answer = submitted.result()
            except CallNotSent as error:
                return not_sent(str(error))
            except asyncio.CancelledError:
                if not submitted.cancelled():
                    raise
                return _aborted(call)
            except ProviderError as error:
                return judge_error(error)
            finally:
                self._open_calls.pop(lease.row_id, None)
                if not submitted.done():
                    submitted.cancel()  # closes the connection, so that the call can no longer answer
                    await asyncio.wait((submitted,), timeout=_CLOSE_SECONDS)
        return judge_refusal(answer) if isinstance(answer, Refusal) else answer


def _timed_out(call: BillableCall, timeout_seconds: float) -> tuple[AttemptEnd, Verdict]:
    if not call.has_left:
        return not_sent("the attempt's deadline passed before a connection was open")
    return no_answer("TIMEOUT", f"The vendor did not answer within {timeout_seconds:g} seconds.")


def _aborted(call: BillableCall) -> tuple[AttemptEnd, Verdict]:
    if not call.has_left:
        return not_sent("the caller canceled before a connection was open")
    return no_answer("ABORTED", "The call was closed because the caller canceled.")
