"""The steps of a good day (`safelight.engine.image.advance`) for one image by itself."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from safelight.domain.ids import AttemptId
from safelight.engine.image import advance
from safelight.engine.image.advance import Finished, Picture, PlannedCall, StoredRendition
from safelight.engine.image.lease import Lease, LeaseLost
from safelight.engine.image.outcome import Ended, Opened, Released
from safelight.storage.staging import Receipt


async def open_attempt(
    pool: asyncpg.Pool, lease: Lease, attempt_id: AttemptId, *, call_seconds: float, grace_seconds: float
) -> Opened | Released | Ended | LeaseLost:
    call = PlannedCall(lease=lease, attempt_id=attempt_id, seconds=call_seconds)
    [became] = await advance.open_attempts(pool, lease.job_id, [call], grace_seconds=grace_seconds)
    return became


async def receive(pool: asyncpg.Pool, lease: Lease, receipt: Receipt) -> Lease | Ended | LeaseLost:
    [became] = await advance.receive(pool, lease.job_id, [Picture(lease=lease, receipt=receipt)])
    return became


async def receive_and_complete(pool: asyncpg.Pool, lease: Lease, receipt: Receipt) -> Ended | LeaseLost:
    [became] = await advance.receive_and_complete(pool, lease.job_id, [Picture(lease=lease, receipt=receipt)])
    return became


async def complete(
    pool: asyncpg.Pool, lease: Lease, attempt_id: str, renditions: Sequence[StoredRendition]
) -> Ended | LeaseLost:
    image = Finished(lease=lease, attempt_id=attempt_id, renditions=renditions)
    [became] = await advance.complete(pool, lease.job_id, [image])
    return became
