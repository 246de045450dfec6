"""The steps of a good day, each for all images of one job that take it at the same moment: one fenced transaction that
locks the job first, however many there are.

What belongs to an attempt (its receipt, its cost; see `provider_book`) is written whether or not the lease still holds.
What belongs to the image is written only under the lease; one that did not move goes the way that the answer tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from safelight.db.statements import load
from safelight.domain.attempts import Buy
from safelight.domain.events import EventType
from safelight.domain.ids import AttemptId, ClaimToken, ImageRowId, JobId
from safelight.domain.lifecycle import ImageStatus, JobStatus
from safelight.engine.image import moves
from safelight.engine.image.charge import cover_call
from safelight.engine.image.journal import Happened, LockedJob, append_events, end_job_if_done, locked_job, start_job
from safelight.engine.image.lease import LEASE_LOST, Lease, LeaseLost
from safelight.engine.image.outcome import Ended, Opened, Released
from safelight.engine.image.provider_book import insert_receipts, next_step_of
from safelight.storage.staging import Receipt

_ATTEMPTS = load("attempts")
_SETTLE = load("settle")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRendition:
    """One output that lies in the blob store under `key`. An internal one is shown nowhere."""

    name: str
    key: str
    format: str
    mime: str
    width_px: int
    height_px: int
    length: int
    sha256: str
    is_internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCall:
    """A call that is about to be made for an image, and may take so long."""

    lease: Lease
    attempt_id: AttemptId
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What came of a call: its receipt, and under which lease it came."""

    lease: Lease
    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """An image whose outputs are stored, and the attempt that it is made of."""

    lease: Lease
    attempt_id: str
    renditions: Sequence[StoredRendition] = ()


async def open_attempts(
    pool: asyncpg.Pool, job_id: JobId, calls: Sequence[PlannedCall], *, grace_seconds: float
) -> list[Opened | Released | Ended | LeaseLost]:
    """Intent before money: each attempt is `sent` and its image `generating`, or the image goes another way.

    For images of one job, each once. Asks the re-send rule, the pause, the budgets, the gates, the caller's stop and
    the run's end once more, under the locks. The answers are in the order of the calls.
    """
    became: dict[AttemptId, Opened | Released | Ended | LeaseLost] = {}
    async with locked_job(pool, job_id) as (conn, job):
        in_order = sorted(calls, key=lambda call: call.lease.row_id)  # as their job has them, and as others lock them
        for call in in_order:
            if (turned := await _turned(conn, job, call.lease)) is not None:
                became[call.attempt_id] = turned
        due = [call for call in in_order if call.attempt_id not in became]
        opened = await conn.fetch(
            _ATTEMPTS.open_attempt,
            [call.attempt_id for call in due],
            [call.lease.row_id for call in due],
            [call.lease.token for call in due],
            [call.seconds for call in due],
            grace_seconds,
        )
        for row in opened:
            became[row["id"]] = Opened(number=row["number"], is_watched=row["is_watched"])
        if opened and job.status is JobStatus.PENDING:
            await start_job(conn, job_id)
        await append_events(
            conn,
            job_id,
            [
                Happened(EventType.IMAGE_STARTED, image_id=call.lease.image_id, data={"attempt": begun.number})
                for call in due
                if isinstance(begun := became.get(call.attempt_id), Opened)
            ],
        )
        for call in due:
            if call.attempt_id not in became:
                became[call.attempt_id] = await moves.turned_away(conn, call.lease)
    return [became[call.attempt_id] for call in calls]


async def receive(pool: asyncpg.Pool, job_id: JobId, pictures: Sequence[Picture]) -> list[Lease | Ended | LeaseLost]:
    """The receipts are committed, and each image is `uploading` if its lease holds and nobody asked it to stop.

    For images of one job, each once. Without the lease the picture is kept all the same, and whoever owns the image
    next adopts it: a waiting image is due at once, and one that ended `uncertain` or `failed` opens again in the sweep.
    """
    async with locked_job(pool, job_id) as (conn, _job):
        received = await _receive(conn, pictures)
        await append_events(conn, job_id, _received(received))
        return [received.get(picture.lease.token) or await _kept(conn, picture.lease) for picture in pictures]


async def receive_and_complete(
    pool: asyncpg.Pool, job_id: JobId, pictures: Sequence[Picture]
) -> list[Ended | LeaseLost]:
    """As `receive` and `complete` one after the other, of pictures of which nothing is stored: one transaction."""
    async with locked_job(pool, job_id) as (conn, _job):
        received = await _receive(conn, pictures)
        whole = [
            Finished(lease=received[picture.lease.token], attempt_id=picture.receipt.attempt_id)
            for picture in pictures
            if picture.lease.token in received
        ]
        completed = await _complete(conn, whole)
        await append_events(conn, job_id, [*_received(received), *_completed(completed)])
        became: list[Ended | LeaseLost] = []
        for picture in pictures:
            if picture.lease.token in completed:
                became.append(Ended(ImageStatus.COMPLETED))
            else:
                kept = LEASE_LOST if picture.lease.token in received else await _kept(conn, picture.lease)
                became.append(await _as_settled(conn, picture.receipt.attempt_id, kept))
        if completed:
            await end_job_if_done(conn, job_id)
        return became


async def complete(pool: asyncpg.Pool, job_id: JobId, images: Sequence[Finished]) -> list[Ended | LeaseLost]:
    """The images are completed for ever; their attempts are settled and their outputs recorded, in one transaction.

    For images of one job, each once. Asked again after a COMMIT that was not confirmed, or by somebody whose picture
    another one settled, it says so.
    """
    async with locked_job(pool, job_id) as (conn, _job):
        completed = await _complete(conn, images)
        await append_events(conn, job_id, _completed(completed))
        if completed:
            await end_job_if_done(conn, job_id)
        return [
            Ended(ImageStatus.COMPLETED)
            if image.lease.token in completed
            else await _as_settled(conn, image.attempt_id, LEASE_LOST)
            for image in images
        ]


async def _turned(conn: asyncpg.Connection, job: LockedJob, lease: Lease) -> Released | Ended | LeaseLost | None:
    """Where an image goes for which no call may begin now; None when one may, as far as job and money are concerned."""
    if job.run_is_over:
        return await moves.end_stopped(conn, lease, "deadline")
    if job.is_paused or not (lease.is_fresh or isinstance(await next_step_of(conn, lease), Buy)):
        return await moves.release(conn, lease, failures=lease.failures)
    if job.is_budgeted and (uncovered := await cover_call(conn, lease)) is not None:
        return await moves.end(conn, lease, ImageStatus.FAILED, uncovered)
    return None


async def _receive(conn: asyncpg.Connection, pictures: Sequence[Picture]) -> dict[ClaimToken, Lease]:
    """The leases of those that are `uploading` now. A lost one may stand beside the one that holds."""
    await insert_receipts(conn, sorted((picture.receipt for picture in pictures), key=lambda each: each.attempt_id))
    leases = {lease.token: lease for lease in sorted((each.lease for each in pictures), key=lambda each: each.row_id)}
    rows = await conn.fetch(
        _ATTEMPTS.start_uploading,
        [lease.row_id for lease in leases.values()],
        [lease.status.value for lease in leases.values()],
        list(leases),
    )
    moved = {row["claim_token"] for row in rows}
    return {token: lease.moved(ImageStatus.UPLOADING) for token, lease in leases.items() if token in moved}


def _received(leases: Mapping[ClaimToken, Lease]) -> list[Happened]:
    return [Happened(EventType.IMAGE_RECEIVED, image_id=lease.image_id) for lease in leases.values()]


async def _kept(conn: asyncpg.Connection, lease: Lease) -> Ended | LeaseLost:
    """The receipt is there, and the image did not move: it ends if it was asked to, or is somebody else's."""
    await conn.fetchval(_SETTLE.hasten, lease.row_id)
    return await moves.end_if_stopped(conn, lease)


async def _complete(conn: asyncpg.Connection, images: Sequence[Finished]) -> dict[ClaimToken, Finished]:
    """Those that are completed now."""
    if not images:
        return {}
    images = sorted(images, key=lambda image: image.lease.row_id)
    rows = await conn.fetch(
        _SETTLE.complete_image,
        [image.lease.row_id for image in images],
        [image.lease.token for image in images],
        [image.attempt_id for image in images],
    )
    moved = {row["token"] for row in rows}
    completed = {image.lease.token: image for image in images if image.lease.token in moved}
    await _record(conn, [(image.lease.row_id, each) for image in completed.values() for each in image.renditions])
    return completed


def _completed(images: Mapping[ClaimToken, Finished]) -> list[Happened]:
    return [Happened(EventType.IMAGE_COMPLETED, image_id=image.lease.image_id) for image in images.values()]


async def _as_settled(conn: asyncpg.Connection, attempt_id: str, otherwise: Ended | LeaseLost) -> Ended | LeaseLost:
    """A write that did not land may have done so before, or another's may have, of the same picture."""
    return Ended(ImageStatus.COMPLETED) if await conn.fetchval(_SETTLE.is_settled, attempt_id) else otherwise


async def _record(conn: asyncpg.Connection, stored: Sequence[tuple[ImageRowId, StoredRendition]]) -> None:
    if not stored:
        return
    columns = ("name", "key", "format", "mime", "width_px", "height_px", "length", "sha256", "is_internal")
    await conn.execute(
        _SETTLE.insert_renditions,
        [row_id for row_id, _ in stored],
        *([getattr(rendition, column) for _, rendition in stored] for column in columns),
    )
