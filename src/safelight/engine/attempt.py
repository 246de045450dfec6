"""One claimed image, from the look back at earlier attempts to its settled picture.

The steps, in their order; each is a method, each may end the way early:

    claim ─► look_back ─► commit ─► call ─► stage ─► render ─► receive ─► finish ─► settle
               │             │        │       │         │                    │
               │             │        └───────┴─────────┴── conclude ────────┤  (error, refusal, no picture)
               └── adopt ────┼──────────────────────────────────────────────►│  (bytes of an earlier attempt)
                             └── release / end                               (wait, canceled, budget spent)

Nothing here waits for another image, and nothing raises into the dispatcher: whatever happens, the database says where
the image stands, and the claim is the only door back in.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS, CONNECTION_LOST, TRANSIENT
from safelight.db.statements import load
from safelight.domain.attempts import Adopt, AttemptStatus, Buy, GiveUp, WaitUntil
from safelight.domain.ids import AttemptId, ImageRowId, WorkerId, new_attempt_id
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.retry import backoff_seconds
from safelight.domain.text import storable, storable_json
from safelight.engine import settle
from safelight.engine.failpoints import Failpoint, Failpoints
from safelight.engine.lease import Hint, Lease, LeaseLost, claim
from safelight.engine.outcome import (
    AttemptEnd,
    End,
    ImageError,
    TryAgain,
    Verdict,
    crashed,
    judge_error,
    judge_refusal,
    no_answer,
    no_picture,
    no_such_provider,
    not_sent,
    not_stored,
    picture_lost,
)
from safelight.engine.timing import Timing
from safelight.imaging.pool import ChildDied, RenderPool
from safelight.imaging.rendition import NotAnImage, Rendered, wanted_output
from safelight.net.billable import BillableCall, CallNotSent, billable_call
from safelight.providers.provider import ImageProvider, ImageRequest, ImageResult, ProviderError, Refusal
from safelight.storage.blob_store import BlobConflict, BlobStore
from safelight.storage.keys import InvalidKey, blob_key
from safelight.storage.staging import Receipt, StagedCorrupt, Staging

_ATTEMPTS = load("attempts")

CRASH_LIMIT = 3
"""Owners that may die on one image without getting further before it ends as CRASHED."""
WRITE_TRIES = 5
"""How often a write about a call's outcome is tried before the image is handed back. Chosen."""
STAGE_TRIES = 5
"""How often paid bytes that the disk refuses are offered to it before they are given up. Chosen."""
RENDER_TRIES = 3
"""How often an image whose bytes are staged is rendered and stored before it ends with its receipt kept."""

_CLOSE_SECONDS = 2.0

T = TypeVar("T")

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
    staging: Staging
    blobs: BlobStore
    renderer: RenderPool
    timing: Timing
    failpoints: Failpoints
    draining: asyncio.Event
    min_free_bytes: int = 0
    _disk_refuses: bool = field(default=False, init=False)
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
                await self.adopt(lease, attempt_id)
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
                staged = await self._staged(attempt["id"])
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
        if not await self._has_room():
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
            await self.keep(lease, sent, answer)
        else:
            await self._conclude(lease, sent.id, *answer)

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

    async def keep(self, lease: Lease, sent: Sent, result: ImageResult) -> None:
        """Paid bytes become durable before anything else happens to them; then they are looked at."""
        receipt = _receipt(lease, sent.id, result)
        is_staged = await self._stage(receipt, result.data)
        self.failpoints.reach(Failpoint.STAGED)
        try:
            outputs = await self._render(lease, result.data)
        except NotAnImage as error:
            await self._discard_no_image(lease, receipt, error)
            return
        except (ChildDied, InvalidKey):
            outputs = None
            log.warning("rendering failed to run; the bytes are kept and rendered later", attempt=sent.id)
        received = await self._firmly(lambda: settle.receive(self.pool, lease, receipt))
        if not isinstance(received, Lease):
            log.info("the picture is kept", image=lease.image_id, job=lease.job_id, why=type(received).__name__)
            return
        self.failpoints.reach(Failpoint.RECEIVED)
        await self.finish(received, receipt, result.data, outputs, is_staged=is_staged)

    async def adopt(self, lease: Lease, attempt_id: str) -> None:
        """Uses the staged bytes of an earlier attempt; nothing is bought."""
        staged = await self._staged(attempt_id)
        if staged is None:
            await self._lost_bytes(lease, attempt_id)
            return
        receipt, data = staged
        received = await settle.receive(self.pool, lease, receipt)
        if isinstance(received, Lease):
            await self.finish(received, receipt, data)

    async def finish(
        self,
        lease: Lease,
        receipt: Receipt,
        data: bytes,
        outputs: Mapping[str, Rendered] | None = None,
        *,
        is_staged: bool = True,
    ) -> None:
        """Outputs are stored, made first if need be, and the image is settled. A failure here never buys again."""
        try:
            if outputs is None:
                outputs = await self._render(lease, data)
            for key, output in outputs.items():
                await self.blobs.put(key, output.data, content_type=output.mime)
        except NotAnImage as error:
            await self._discard_no_image(lease, receipt, error)
            return
        except (ChildDied, OSError, BlobConflict, InvalidKey) as error:
            await self._finish_later(lease, receipt, error, is_staged=is_staged)
            return
        self.failpoints.reach(Failpoint.UPLOADED)
        stored = [_stored(key, output) for key, output in outputs.items()]
        done = await self._firmly(lambda: settle.complete(self.pool, lease, receipt.attempt_id, stored))
        if isinstance(done, LeaseLost):
            return
        self.failpoints.reach(Failpoint.SETTLED)
        await self.staging.discard(receipt.attempt_id)

    async def _staged(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        """What is staged for an attempt, if it is whole."""
        try:
            return await self.staging.load(attempt_id)
        except StagedCorrupt as error:
            log.error("staged bytes are damaged", attempt=attempt_id, detail=str(error))
            return None

    async def _render(self, lease: Lease, data: bytes) -> dict[str, Rendered]:
        """The job's outputs by the keys they belong under, from one decode of the whole picture."""
        job = await self._firmly(lambda: self.pool.fetchrow(_ATTEMPTS.outputs_of_job, lease.job_id))
        assert job is not None
        _, rendered = await self.renderer.examine(data, [wanted_output(fields) for fields in job["outputs"]])
        return {
            blob_key(
                account=None,
                prefix=job["storage_prefix"] or lease.job_id,
                group=lease.group,
                image_id=lease.image_id,
                output=output.name,
                row_id=lease.row_id,
                sha256=output.sha256,
                extension=output.extension,
            ): output
            for output in rendered
        }

    async def _discard_no_image(self, lease: Lease, receipt: Receipt, error: NotAnImage) -> None:
        """What came is no picture: it was paid for, it is booked, and its bytes are of no use."""
        await self._conclude_paid(lease, receipt, no_picture(error.code.upper().replace("-", "_"), str(error)))
        await self.staging.discard(receipt.attempt_id)

    async def _stage(self, receipt: Receipt, data: bytes) -> bool:
        """The bytes are durable; False when the disk refuses them time and again, and they are in memory only."""
        for failures in range(1, STAGE_TRIES + 1):
            try:
                await self.staging.stage(receipt, data)
                self._disk_refuses = False
                return True
            except OSError as error:
                self._disk_refuses = True
                log.error("a paid picture cannot be staged", attempt=receipt.attempt_id, errno=error.errno)
                await asyncio.sleep(self._pause(failures))
        return False

    async def _has_room(self) -> bool:
        """Whether a picture that is bought now could be staged."""
        if self.staging.free_bytes() < self.min_free_bytes:
            log.error("not buying: too little disk space to stage what would come", min_free_bytes=self.min_free_bytes)
            return False
        if self._disk_refuses:
            try:
                await self.staging.ensure_marker()  # writes a file, as staging does
            except OSError as error:
                log.error("not buying: the staging folder refuses files", errno=error.errno)
                return False
        return True

    async def _lost_bytes(self, lease: Lease, attempt_id: str) -> None:
        """A receipt whose bytes are gone: someone emptied the staging folder. Booked as paid without a picture."""
        gone = picture_lost("STAGED_BYTES_GONE", "The staged picture is gone.")
        cost = await settle.cost_of_attempt(self.pool, attempt_id)
        end = AttemptEnd(status=AttemptStatus.NO_IMAGE, cost=cost, error=gone)
        await self._conclude(lease, AttemptId(attempt_id), end, TryAgain())

    async def _finish_later(self, lease: Lease, receipt: Receipt, error: Exception, *, is_staged: bool) -> None:
        """Storage is waited for until the run ends; a picture that cannot be rendered is given up after a few tries.

        Bytes that were never staged are gone with this process, so they are booked as paid without a picture, and the
        image ends: a storage failure never leads to another purchase by itself.
        """
        log.warning("rendering or storing failed", image=lease.image_id, job=lease.job_id, error=type(error).__name__)
        failures = lease.failures + 1
        if not is_staged:
            lost = picture_lost("NOT_STORED", "The picture came and could be neither staged nor stored.")
            await self._conclude_paid(lease, receipt, lost, End(ImageStatus.FAILED))
        elif failures >= RENDER_TRIES and not isinstance(error, OSError):
            await self._firmly(lambda: settle.end(self.pool, lease, ImageStatus.FAILED, not_stored(error)))
        else:
            await settle.release(self.pool, lease, after_seconds=self._pause(failures), failures=failures)

    def _pause(self, failures: int) -> float:
        return backoff_seconds(failures, jitter=0.5, unit_seconds=self.timing.retry_unit_seconds)

    async def _conclude_paid(
        self, lease: Lease, receipt: Receipt, error: ImageError, verdict: Verdict | None = None
    ) -> None:
        end = AttemptEnd(
            status=AttemptStatus.NO_IMAGE,
            cost=receipt.cost,
            error=error,
            usage=receipt.usage,
            request_id=receipt.request_id,
        )
        await self._conclude(lease, AttemptId(receipt.attempt_id), end, verdict or TryAgain())

    async def _conclude(self, lease: Lease, attempt_id: AttemptId, end: AttemptEnd, verdict: Verdict) -> None:
        await self._firmly(
            lambda: settle.conclude(
                self.pool, lease, attempt_id, end, verdict, retry_unit_seconds=self.timing.retry_unit_seconds
            )
        )

    async def _firmly(self, write: Callable[[], Awaitable[T]]) -> T:
        """A fenced write, tried again while the database stumbles: a known outcome must not become an unknown one.

        Doing it twice is harmless. A write whose COMMIT had come through says that the lease is lost, and it is.
        """
        for failures in range(1, WRITE_TRIES):
            try:
                return await write()
            except TRANSIENT as error:
                log.warning("the database stumbled", error=type(error).__name__)
                await asyncio.sleep(self._pause(failures) / 5)
        return await write()


def _timed_out(call: BillableCall, timeout_seconds: float) -> tuple[AttemptEnd, Verdict]:
    if not call.has_left:
        return not_sent("the attempt's deadline passed before a connection was open")
    return no_answer("TIMEOUT", f"The vendor did not answer within {timeout_seconds:g} seconds.")


def _aborted(call: BillableCall) -> tuple[AttemptEnd, Verdict]:
    if not call.has_left:
        return not_sent("the caller canceled before a connection was open")
    return no_answer("ABORTED", "The call was closed because the caller canceled.")


def _receipt(lease: Lease, attempt_id: AttemptId, result: ImageResult) -> Receipt:
    return Receipt(
        attempt_id=attempt_id,
        image_row_id=lease.row_id,
        job_id=lease.job_id,
        sha256=hashlib.sha256(result.data).hexdigest(),
        length=len(result.data),
        claimed_mime=result.claimed_mime,
        cost_microusd=result.cost.microusd,
        cost_basis=result.cost.basis,
        price_ref=result.cost.price_ref,
        usage=storable_json(result.usage),
        request_id=storable(result.request_id) if result.request_id else None,
        model_version=storable(result.model_version) if result.model_version else None,
        received_at=datetime.now(UTC).isoformat(),
        fingerprint=lease.fingerprint,
    )


def _stored(key: str, rendition: Rendered) -> settle.StoredRendition:
    return settle.StoredRendition(
        name=rendition.name,
        key=key,
        format=rendition.format,
        mime=rendition.mime,
        width_px=rendition.width_px,
        height_px=rendition.height_px,
        length=len(rendition.data),
        sha256=rendition.sha256,
    )
