"""What was paid for: made durable, looked at, rendered, stored and settled; and never bought again.

Bytes come from a call that has just answered (`keep`) or from an earlier attempt (`adopt`); both go the same way on.
A failure of our own disk, store or renderer costs time and never leads to another purchase by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TypeVar

import asyncpg
import structlog

from safelight.db.pool import TRANSIENT
from safelight.domain.attempts import AttemptStatus
from safelight.domain.ids import AttemptId
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.money import believed
from safelight.domain.retry import backoff_seconds
from safelight.domain.text import storable, storable_json
from safelight.engine.failpoints import Failpoint, Failpoints
from safelight.engine.image import provider_book, settle
from safelight.engine.image.advance import Finished, Picture, StoredRendition
from safelight.engine.image.lease import Lease, LeaseLost
from safelight.engine.image.outcome import (
    AttemptEnd,
    End,
    Ended,
    ImageError,
    TryAgain,
    Verdict,
    no_picture,
    not_stored,
    picture_lost,
)
from safelight.engine.image.reference import SOURCE
from safelight.engine.image.stranded import is_stranded, note_stranded
from safelight.engine.image.writes import Writes
from safelight.engine.timing import Timing
from safelight.imaging.pool import ChildDied, RenderPool
from safelight.imaging.rendition import NotAnImage, Rendered, wanted_output
from safelight.providers.provider import ImageResult
from safelight.storage.blob_store import BlobConflict, BlobStore
from safelight.storage.keys import InvalidKey, blob_key
from safelight.storage.staging import Receipt, Staged, StagedCorrupt, Staging
from safelight.tracing.spans import SpanName, span

WRITE_TRIES = 5
"""How often a write about a call's outcome is tried before the image is handed back. Chosen."""
STAGE_TRIES = 5
"""How often paid bytes that the disk refuses are offered to it before they are given up. Chosen."""
RENDER_TRIES = 3
"""How often an image whose bytes are staged is rendered before it ends with its receipt kept. Chosen."""

T = TypeVar("T")


class StagingAway(Exception):
    """Nobody can say now what is staged: nothing may be bought, and nothing taken for lost."""


log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Keeper:
    """Takes paid bytes to their end. One per worker process; it remembers only that the disk refused a file."""

    pool: asyncpg.Pool
    writes: Writes
    staging: Staging
    blobs: BlobStore
    renderer: RenderPool
    timing: Timing
    failpoints: Failpoints
    min_free_bytes: int = 0
    _disk_refuses: bool = field(default=False, init=False)

    async def keep(
        self,
        lease: Lease,
        attempt_id: AttemptId,
        result: ImageResult,
        *,
        once_staged: Callable[[], Awaitable[None]] | None = None,
        may_come_again: bool = False,
    ) -> bool:
        """Paid bytes become durable before anything else happens to them; then they are looked at.

        False when they are no picture but their vendor `may_come_again` with it: then nothing is kept of them.
        """
        receipt = _receipt(lease, attempt_id, result)
        is_staged = await self._stage(receipt, result.data)
        self.failpoints.reach(Failpoint.STAGED)
        if once_staged is not None:
            await once_staged()
        try:
            outputs = await self._render(lease, result.data)
        except NotAnImage as error:
            if may_come_again:
                await self._discard(receipt)
                return False
            await self._discard_no_image(lease, receipt, error)
            return True
        except (ChildDied, InvalidKey):
            outputs = None
            log.warning("rendering failed to run; the bytes are kept and rendered later", attempt_id=attempt_id)
        if outputs is not None and not outputs:
            await self._complete_at_once(lease, receipt)
            return True
        received = await self.firmly(lambda: self.writes.receive(Picture(lease=lease, receipt=receipt)))
        if not isinstance(received, Lease):
            self._note_kept(received)
            return True
        self.failpoints.reach(Failpoint.RECEIVED)
        just_come = replace(received, failures=0)  # what failed on the way to it is of no account any more
        await self.finish(just_come, receipt, result.data, outputs, is_staged=is_staged)
        return True

    async def set_aside(self, lease: Lease, attempt_id: AttemptId, result: ImageResult, *, fingerprint: str) -> None:
        """The picture of another request than the image makes now: it is kept and booked, and the image goes on."""
        receipt = replace(_receipt(lease, attempt_id, result), fingerprint=fingerprint)
        await self._stage(receipt, result.data)
        await self.firmly(lambda: provider_book.insert_receipt(self.pool, receipt))
        await self.firmly(lambda: settle.release(self.pool, lease))

    async def adopt(self, lease: Lease, attempt_id: str) -> None:
        """Uses the staged bytes of an earlier attempt; nothing is bought. Raises StagingAway."""
        staged = await self.staged(attempt_id)
        if staged is None:
            if await is_stranded(self.pool, attempt_id):
                log.info("the picture lies on another host", attempt_id=attempt_id)
                await self.wait_for_storage(lease)
            else:
                await self._lost_bytes(lease, attempt_id)
            return
        receipt, data = staged
        received = await self.writes.receive(Picture(lease=lease, receipt=receipt))
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
            with span(SpanName.STORE):
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
        image = Finished(lease=lease, attempt_id=receipt.attempt_id, renditions=stored)
        done = await self.firmly(lambda: self.writes.complete(image))
        if isinstance(done, LeaseLost):
            return
        self.failpoints.reach(Failpoint.SETTLED)
        await self._discard(receipt)

    async def wait_for_storage(self, lease: Lease) -> None:
        """The image is back in the backlog, and looks again later, for as long as its run lasts."""
        failures = lease.failures + 1
        await settle.release(self.pool, lease, after_seconds=self._pause(failures), failures=failures)

    async def _discard(self, receipt: Receipt) -> None:
        """Bytes that are needed no more are gone, or the sweep removes them once their place answers again."""
        try:
            await self.staging.discard(receipt.attempt_id)
        except OSError as error:
            log.warning("staged bytes are left to the sweep", attempt_id=receipt.attempt_id, detail=str(error))

    async def _complete_at_once(self, lease: Lease, receipt: Receipt) -> None:
        """Nothing is stored of this picture, so that nothing can fail between its receipt and its end."""
        done = await self.firmly(lambda: self.writes.receive_and_complete(Picture(lease=lease, receipt=receipt)))
        if done != Ended(ImageStatus.COMPLETED):
            self._note_kept(done)
            return
        self.failpoints.reach(Failpoint.SETTLED)
        await self._discard(receipt)

    def _note_kept(self, why: Ended | LeaseLost) -> None:
        log.info("the picture is kept", why=type(why).__name__)

    async def staged(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        """What is staged for an attempt, if it is whole. Raises StagingAway."""
        try:
            return await self.staging.load(attempt_id)
        except OSError as error:
            log.warning("the staging place does not answer", attempt_id=attempt_id, detail=str(error))
            raise StagingAway from error
        except StagedCorrupt as error:
            log.error("staged bytes are damaged", attempt_id=attempt_id, detail=str(error))
            return None

    async def _render(self, lease: Lease, data: bytes) -> dict[str, Rendered]:
        """The job's outputs by the keys they belong under, from one decode of the whole picture; the original too, when
        another image is made from it."""
        outputs = [wanted_output(fields) for fields in lease.outputs]
        with span(SpanName.RENDER):
            _, rendered = await self.renderer.examine(data, [*outputs, SOURCE] if lease.is_referenced else outputs)
        return {
            blob_key(
                account=None,
                prefix=lease.storage_prefix or lease.job_id,
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
        """What came is no picture: it was paid for, it is booked, and its bytes are of no use. Another one is bought
        unless that would be of the same kind."""
        why = no_picture(error.code.upper().replace("-", "_"), str(error))
        verdict = End(ImageStatus.FAILED) if error.is_of_its_kind else TryAgain()
        await self._conclude_paid(lease, receipt, why, verdict)
        await self._discard(receipt)

    async def _stage(self, receipt: Receipt, data: bytes) -> bool:
        """The bytes are durable; False when the disk refuses them time and again, and they are in memory only."""
        with span(SpanName.STAGE):
            staged = await self._staged(receipt, data)
        if staged is not None and (only_in := staged.only_in) is not None:
            await self.firmly(lambda: note_stranded(self.pool, receipt, only_in=only_in))
        return staged is not None

    async def _staged(self, receipt: Receipt, data: bytes) -> Staged | None:
        for failures in range(1, STAGE_TRIES + 1):
            try:
                staged = await self.staging.stage(receipt, data)
                self._disk_refuses = False
                return staged
            except OSError as error:
                self._disk_refuses = True
                log.error("a paid picture cannot be staged", attempt_id=receipt.attempt_id, errno=error.errno)
                await asyncio.sleep(self._pause(failures))
        return None

    async def has_room(self) -> bool:
        """Whether a picture that is bought now could be staged."""
        free_bytes = self.staging.free_bytes()
        if free_bytes is not None and free_bytes < self.min_free_bytes:
            log.error("not buying: too little disk space to stage what would come", min_free_bytes=self.min_free_bytes)
            return False
        if self._disk_refuses:
            try:
                await self.staging.probe()
            except OSError as error:
                log.error("not buying: nothing can be staged", errno=error.errno)
                return False
        return True

    async def _lost_bytes(self, lease: Lease, attempt_id: str) -> None:
        """A receipt whose bytes are gone: someone emptied the staging folder. Booked as paid without a picture."""
        gone = picture_lost("STAGED_BYTES_GONE", "The staged picture is gone.")
        cost = await provider_book.cost_of_attempt(self.pool, attempt_id)
        end = AttemptEnd(status=AttemptStatus.NO_IMAGE, cost=cost, error=gone)
        await self.conclude(lease, AttemptId(attempt_id), end, TryAgain())

    async def _finish_later(self, lease: Lease, receipt: Receipt, error: Exception, *, is_staged: bool) -> None:
        """Storage is waited for until the run ends; a picture that cannot be rendered is given up after a few tries.

        Bytes that were never staged are gone with this process, so they are booked as paid without a picture, and the
        image ends: a storage failure never leads to another purchase by itself.
        """
        log.warning("rendering or storing failed", error=type(error).__name__)
        failures = lease.failures + 1
        if not is_staged:
            lost = picture_lost("NOT_STORED", "The picture came and could be neither staged nor stored.")
            await self._conclude_paid(lease, receipt, lost, End(ImageStatus.FAILED))
        elif failures >= RENDER_TRIES and not isinstance(error, OSError):
            await self.firmly(lambda: settle.end(self.pool, lease, ImageStatus.FAILED, not_stored(error)))
        else:
            await settle.release(self.pool, lease, after_seconds=self._pause(failures), failures=failures)

    def _pause(self, failures: int) -> float:
        return backoff_seconds(failures, jitter=0.5, unit_seconds=self.timing.retry_unit_seconds)

    async def _conclude_paid(self, lease: Lease, receipt: Receipt, error: ImageError, verdict: Verdict) -> None:
        end = AttemptEnd(
            status=AttemptStatus.NO_IMAGE,
            cost=receipt.cost,
            error=error,
            usage=receipt.usage,
            request_id=receipt.request_id,
        )
        await self.conclude(lease, AttemptId(receipt.attempt_id), end, verdict)

    async def conclude(self, lease: Lease, attempt_id: AttemptId, end: AttemptEnd, verdict: Verdict) -> None:
        await self.firmly(
            lambda: settle.conclude(
                self.pool, lease, attempt_id, end, verdict, retry_unit_seconds=self.timing.retry_unit_seconds
            )
        )

    async def firmly(self, write: Callable[[], Awaitable[T]]) -> T:
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


def _receipt(lease: Lease, attempt_id: AttemptId, result: ImageResult) -> Receipt:
    cost = believed(result.cost)
    return Receipt(
        attempt_id=attempt_id,
        image_row_id=lease.row_id,
        job_id=lease.job_id,
        sha256=hashlib.sha256(result.data).hexdigest(),
        length=len(result.data),
        claimed_mime=result.claimed_mime,
        cost_microusd=cost.microusd,
        cost_basis=cost.basis,
        price_ref=cost.price_ref,
        usage=storable_json(result.usage),
        request_id=storable(result.request_id) if result.request_id else None,
        model_version=storable(result.model_version) if result.model_version else None,
        received_at=datetime.now(UTC).isoformat(),
        fingerprint=lease.fingerprint,
    )


def _stored(key: str, rendition: Rendered) -> StoredRendition:
    return StoredRendition(
        name=rendition.name,
        key=key,
        format=rendition.format,
        mime=rendition.mime,
        width_px=rendition.width_px,
        height_px=rendition.height_px,
        length=len(rendition.data),
        sha256=rendition.sha256,
        is_internal=rendition.name == SOURCE.name,
    )
