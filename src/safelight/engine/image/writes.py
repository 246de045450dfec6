"""The writes of a good day, as one worker makes them: images that need the same one at the same moment share it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg

from safelight.db.pool import TRANSIENT
from safelight.domain.ids import JobId, WorkerId
from safelight.engine.image import advance, lease
from safelight.engine.image.advance import Finished, Picture, PlannedCall
from safelight.engine.image.lease import Hint, Lease, LeaseLost
from safelight.engine.image.outcome import Ended, Opened, Released
from safelight.engine.image.traces import told_as
from safelight.engine.timing import Timing
from safelight.together import Together
from safelight.tracing.spans import SpanName

_MOST_CLAIMS = 32
_MOST_IMAGES = 64
"""In one transaction, which holds their job's lock. Chosen: few milliseconds."""
_BUSY_PER_SECOND = 100.0
_LINGER_SECONDS = 0.05
"""Of what has come from a vendor, and only where it comes so fast. Chosen: little beside the seconds that each picture
took, and enough for several to share a transaction."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Writes:
    """Claims go together whatever job they are of; everything else by job, whose lock they would wait for anyway.

    Each write is what `lease` and `advance` say of it, for one image.
    """

    def __init__(self, pool: asyncpg.Pool, *, worker_id: WorkerId, timing: Timing) -> None:
        self._pool = pool
        self._worker_id = worker_id
        self._timing = timing
        self._claims: Together[None, Hint, Lease | None] = Together(
            self._claim_all, most=_MOST_CLAIMS, shared=TRANSIENT
        )
        self._openings: Together[JobId, PlannedCall, Opened | Released | Ended | LeaseLost] = Together(
            self._open_all, most=_MOST_IMAGES, shared=TRANSIENT
        )
        self._receipts = _of_pictures(self._receive_all)
        self._whole = _of_pictures(self._whole_all)
        self._ends = _of_pictures(self._complete_all)

    async def claim(self, hint: Hint) -> Lease | None:
        """Who comes alone, or has to wait for the image's row, claims alone."""
        return await self._claims(None, hint) or await self._claim(hint)

    @told_as(SpanName.COMMIT)
    async def open_attempt(self, call: PlannedCall) -> Opened | Released | Ended | LeaseLost:
        return await self._openings(call.lease.job_id, call)

    @told_as(SpanName.RECEIVE)
    async def receive(self, picture: Picture) -> Lease | Ended | LeaseLost:
        return await self._receipts(picture.lease.job_id, picture)

    @told_as(SpanName.SETTLE)
    async def receive_and_complete(self, picture: Picture) -> Ended | LeaseLost:
        return await self._whole(picture.lease.job_id, picture)

    @told_as(SpanName.SETTLE)
    async def complete(self, image: Finished) -> Ended | LeaseLost:
        return await self._ends(image.lease.job_id, image)

    async def _claim(self, hint: Hint) -> Lease | None:
        return await lease.claim(self._pool, hint, worker_id=self._worker_id, lease_seconds=self._timing.lease_seconds)

    async def _claim_all(self, _key: None, hints: Sequence[Hint]) -> Sequence[Lease | None]:
        if len(hints) == 1:
            return [None]
        return await lease.claim_all(
            self._pool, hints, worker_id=self._worker_id, lease_seconds=self._timing.lease_seconds
        )

    async def _open_all(
        self, job_id: JobId, calls: Sequence[PlannedCall]
    ) -> Sequence[Opened | Released | Ended | LeaseLost]:
        return await advance.open_attempts(self._pool, job_id, calls, grace_seconds=self._timing.grace_seconds)

    async def _receive_all(self, job_id: JobId, pictures: Sequence[Picture]) -> Sequence[Lease | Ended | LeaseLost]:
        return await advance.receive(self._pool, job_id, pictures)

    async def _whole_all(self, job_id: JobId, pictures: Sequence[Picture]) -> Sequence[Ended | LeaseLost]:
        return await advance.receive_and_complete(self._pool, job_id, pictures)

    async def _complete_all(self, job_id: JobId, images: Sequence[Finished]) -> Sequence[Ended | LeaseLost]:
        return await advance.complete(self._pool, job_id, images)


def _of_pictures(
    write: Callable[[JobId, Sequence[Item]], Awaitable[Sequence[Answer]]],
) -> Together[JobId, Item, Answer]:
    """For what comes from vendors."""
    return Together(
        write,
        most=_MOST_IMAGES,
        shared=TRANSIENT,
        linger_seconds=_LINGER_SECONDS,
        busy_per_second=_BUSY_PER_SECOND,
    )
