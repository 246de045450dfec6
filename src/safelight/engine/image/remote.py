"""Jobs of the vendor's own: kept by their handle, asked after until they end, never bought again.

A call to such a vendor is over in a second; what it bought takes minutes. Once the handle is committed, any process can
go on from it, so a crash costs nothing and no timeout permits another purchase: the job is asked after until it ends or
the run does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import asyncpg
import structlog

from safelight.db.pool import TRANSIENT
from safelight.db.statements import load
from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.ids import AttemptId
from safelight.domain.money import FREE
from safelight.domain.retry import backoff_seconds
from safelight.engine import gates
from safelight.engine.failpoints import Failpoint, Failpoints
from safelight.engine.image import provider_book, settle
from safelight.engine.image.keep import Keeper
from safelight.engine.image.lease import Lease
from safelight.engine.image.outcome import TryAgain, judge_error, judge_refusal, no_answer, no_such_provider
from safelight.engine.image.request import request_of
from safelight.engine.image.traces import asking
from safelight.engine.timing import Timing
from safelight.providers.provider import (
    ImageProvider,
    ImageResult,
    PollFailed,
    ProviderError,
    Refusal,
    RemoteHandle,
    RemoteProvider,
    StillRunning,
)
from safelight.tracing.spans import SpanName

_ATTEMPTS = load("attempts")

SUBMIT_SECONDS = 60.0
"""A vendor that answers with a job has this long to do so, or as long as the attempt when that is less. Chosen: the
time in which a crash can lose a purchase."""

POLL_LIMIT_SECONDS = 90.0
"""Of one question, the fetching of the picture included. Chosen."""

PAUSE_IN_PLACE_SECONDS = 10.0
"""For a longer pause between two questions the image goes back to the backlog, where a cancel finds it. Chosen."""

WIND_DOWN_POLLS = 5
"""How often a job is asked after once it was to be stopped, before its outcome is booked as unknown. Chosen."""

PICTURE_TRIES = 4
"""How many looks in a row may bring no picture before what came in its place counts as what the vendor made. Chosen."""

_HANDLE_PAUSE_SECONDS = 0.25

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJob:
    """A job at the vendor: the attempt that bought it, where and for which request, and how to ask after it."""

    attempt_id: AttemptId
    provider: str
    model: str
    fingerprint: str
    handle: RemoteHandle


@dataclass(slots=True, kw_only=True)
class RemoteJobs:
    """Follows vendors' jobs to their ends. One per worker process; it remembers nothing."""

    pool: asyncpg.Pool
    providers: Mapping[str, ImageProvider]
    keeper: Keeper
    timing: Timing
    failpoints: Failpoints
    draining: asyncio.Event

    async def begin(self, lease: Lease, attempt_id: AttemptId, handle: RemoteHandle) -> None:
        """A job was just accepted: its handle is committed, and then it is followed as long as an attempt may take."""
        self.failpoints.reach(Failpoint.HANDLE_RECEIVED)
        await self._keep_handle(attempt_id, handle)
        self.failpoints.reach(Failpoint.HANDLE_COMMITTED)
        job = RemoteJob(
            attempt_id=attempt_id,
            provider=lease.provider,
            model=lease.model,
            fingerprint=lease.fingerprint,
            handle=handle,
        )
        await self.follow(lease, job, patience_seconds=lease.timeout_seconds)

    async def _keep_handle(self, attempt_id: AttemptId, handle: RemoteHandle) -> None:
        """Tried until the database takes it: the handle is nowhere else, and the job is paid for."""
        failures = 0
        while True:
            try:
                await provider_book.keep_handle(self.pool, attempt_id, handle)
                return
            except TRANSIENT as error:
                failures += 1
                log.warning("a job's handle cannot be kept yet", attempt_id=attempt_id, error=type(error).__name__)
                await asyncio.sleep(backoff_seconds(min(failures, 4), jitter=0.5, unit_seconds=_HANDLE_PAUSE_SECONDS))

    async def adopt(self, lease: Lease, attempt_id: str) -> None:
        """A job that an earlier owner of the image submitted. Without a right to buy, it is asked after once at a time,
        so that few workers see after many jobs."""
        row = await self.pool.fetchrow(_ATTEMPTS.handle_of, attempt_id)
        if row is None:
            await settle.release(self.pool, lease)
            return
        job = RemoteJob(
            attempt_id=AttemptId(attempt_id),
            provider=row["provider"],
            model=row["model"],
            fingerprint=row["fingerprint"],
            handle=RemoteHandle.from_json(row["remote"]),
        )
        await self.follow(lease, job, patience_seconds=lease.timeout_seconds if lease.may_buy else 0.0)

    async def follow(self, lease: Lease, job: RemoteJob, *, patience_seconds: float) -> None:
        """Asks until the job has ended. After `patience_seconds`, for a long pause, or when this worker drains, the
        image goes back to the backlog, and whoever has it next goes on."""
        provider = self.providers.get(job.provider)
        if not isinstance(provider, RemoteProvider):
            await self._leave(lease, job)
            return
        patience_ends = time.monotonic() + patience_seconds
        failures = lease.failures
        while True:
            standing = await self._standing(lease)
            if standing is None:
                return  # another worker has the image, and asks
            if standing["stop"]:
                await self._wind_down(lease, job, provider)
                return
            answer = await self._ask(lease, job, provider)
            if not isinstance(answer, StillRunning | PollFailed):
                if await self._conclude(lease, job, answer, may_come_again=failures + 1 < PICTURE_TRIES):
                    return
                answer = _no_picture_yet()
            self.failpoints.reach(Failpoint.POLLING)
            failures = failures + 1 if isinstance(answer, PollFailed) else 0
            pause = self._pause(answer, failures)
            left_seconds = min(patience_ends - time.monotonic(), PAUSE_IN_PLACE_SECONDS)
            if self.draining.is_set() or pause >= left_seconds:
                await settle.release(self.pool, lease, after_seconds=pause, failures=failures)
                return
            await self._rest(pause)

    async def _standing(self, lease: Lease) -> asyncpg.Record | None:
        return await self.pool.fetchrow(_ATTEMPTS.standing, lease.row_id, lease.status.value, lease.token)

    async def _ask(
        self, lease: Lease, job: RemoteJob, provider: RemoteProvider
    ) -> ImageResult | Refusal | StillRunning | PollFailed | ProviderError:
        request = replace(request_of(lease, attempt_key=job.attempt_id), model=job.model)
        try:
            with asking(SpanName.PROVIDER_POLL, job.provider, job.model) as told:
                async with asyncio.timeout(POLL_LIMIT_SECONDS):
                    return told(await provider.poll(job.handle, request))
        except ProviderError as error:
            await self._report(lease, job, error)
            return error
        except PollFailed as failed:
            if failed.scope is Scope.ACCOUNT:
                await self._report(lease, job, _of_account(failed))
            return failed
        except TimeoutError:
            return PollFailed("asking took too long", kind=ErrorKind.TIMEOUT, code="POLL_TIMEOUT")
        except Exception as error:
            log.exception("a provider broke when it was asked after a job", provider=job.provider)
            return PollFailed(type(error).__name__, kind=ErrorKind.TEMPORARY, code="CLIENT_FAILED")

    def _pause(self, answer: StillRunning | PollFailed, failures: int) -> float:
        if isinstance(answer, PollFailed):
            backoff = backoff_seconds(failures, jitter=0.5, unit_seconds=self.timing.poll_seconds)
            log.info("a job could not be asked after", code=answer.code, failures=failures)
            return max(answer.retry_after_seconds or 0.0, backoff)
        return max(answer.after_seconds or 0.0, self.timing.poll_seconds)

    async def _report(self, lease: Lease, job: RemoteJob, error: ProviderError) -> None:
        await gates.report_failure(
            self.pool, provider=job.provider, model=job.model, row_id=lease.row_id, error=error, timing=self.timing
        )

    async def _conclude(
        self,
        lease: Lease,
        job: RemoteJob,
        answer: ImageResult | Refusal | ProviderError,
        *,
        may_come_again: bool,
    ) -> bool:
        """What came of a job that was bought for another request (its image was retried with another prompt) is kept
        and booked, and says nothing of the image. A picture that another vendor of its chain made is the image's own;
        that one's failure is not the answer of whom it asks now.

        False when what lay in the picture's place is none and it `may_come_again`: a page that tells of trouble, say.
        """
        report = partial(gates.report_answer, self.pool, provider=job.provider, model=job.model, row_id=lease.row_id)
        is_wanted = job.fingerprint == lease.fingerprint
        if isinstance(answer, ImageResult):
            self.failpoints.reach(Failpoint.RECEIVED_UNSTAGED)
            if is_wanted:
                return await self.keeper.keep(
                    lease, job.attempt_id, answer, once_staged=report, may_come_again=may_come_again
                )
            await self.keeper.set_aside(lease, job.attempt_id, answer, fingerprint=job.fingerprint)
            await report()
            return True
        if isinstance(answer, Refusal):
            await report()
        end, verdict = judge_refusal(answer) if isinstance(answer, Refusal) else judge_error(answer)
        if not is_wanted or (job.provider, job.model) != (lease.provider, lease.model):
            verdict = TryAgain(0.0, counts_as_failure=False)
        await self.keeper.conclude(lease, job.attempt_id, end, verdict)
        return True

    async def _wind_down(self, lease: Lease, job: RemoteJob, provider: RemoteProvider) -> None:
        """The vendor is asked to stop until it hears of it, and how that went: what was made all the same is kept."""
        is_told = False
        for nth in range(1, WIND_DOWN_POLLS + 1):
            if await self._standing(lease) is None:
                return  # whoever has the image now may want the job
            is_told = is_told or await self._tell_to_stop(job, provider)
            answer = await self._ask(lease, job, provider)
            if not isinstance(answer, StillRunning | PollFailed) and await self._conclude(
                lease, job, answer, may_come_again=nth < WIND_DOWN_POLLS
            ):
                return
            await asyncio.sleep(self.timing.poll_seconds)
        if await self._standing(lease) is not None:
            await self._give_up(lease, job, "The vendor's job was canceled and has not said how it ended.")

    async def _tell_to_stop(self, job: RemoteJob, provider: RemoteProvider) -> bool:
        """Whether the vendor has answered."""
        try:
            async with asyncio.timeout(POLL_LIMIT_SECONDS):
                await provider.cancel(job.handle)
        except (PollFailed, TimeoutError) as error:
            log.warning("a job could not be canceled at the vendor", error=type(error).__name__)
            return False
        except Exception:
            log.exception("a provider broke when it was to cancel a job", provider=job.provider)
            return False
        return True

    async def _leave(self, lease: Lease, job: RemoteJob) -> None:
        """This worker does not know the job's provider. The image waits for one that does, or will after a restart:
        nothing is known of the job, so nothing may be bought in its place. When the image is to be stopped and nobody
        can tell the vendor so, the outcome stays unknown."""
        standing = await self._standing(lease)
        if standing is None:
            return
        is_served = await self.pool.fetchval(_ATTEMPTS.is_served, job.provider, self.timing.lease_seconds)
        if standing["stop"] and not is_served:
            await self._give_up(lease, job, no_such_provider(job.provider).message)
            return
        failures = lease.failures if is_served else lease.failures + 1
        pause = backoff_seconds(max(failures, 1), jitter=0.5, unit_seconds=self.timing.poll_seconds)
        log.warning("a job at a provider that is not configured here", provider=job.provider)
        await settle.release(self.pool, lease, after_seconds=pause, failures=failures)

    async def _give_up(self, lease: Lease, job: RemoteJob, why: str) -> None:
        """The job's end will not be heard of: booked as unknown. Its handle stays, and the user's retry asks again."""
        end, verdict = no_answer("REMOTE_JOB_LEFT", why)
        await self.keeper.conclude(lease, job.attempt_id, end, verdict)

    async def _rest(self, seconds: float) -> None:
        """A pause that a drain ends at once."""
        try:
            await asyncio.wait_for(self.draining.wait(), seconds)
        except TimeoutError:
            return


def _no_picture_yet() -> PollFailed:
    return PollFailed(
        "the job has ended, and what came in its picture's place is none", kind=ErrorKind.TEMPORARY, code="NO_PICTURE"
    )


def _of_account(failed: PollFailed) -> ProviderError:
    """What kept us from asking would keep us from buying, too."""
    return ProviderError(
        failed.message, kind=failed.kind, billed=Billed.NO, code=failed.code, scope=failed.scope, cost=FREE
    )
