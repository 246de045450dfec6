"""Pictures behind addresses that a caller named: fetched once, and kept as uploads that nobody sees.

An address is asked before an image's first call is even written down, so that whatever it answers costs nothing. What
it gave is verified and written anew like any upload, and goes into every further call for the image as it is, also
after a crash: a retry is made from the same picture.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import asyncpg
import structlog

from safelight.db.pool import ACQUIRE_SECONDS
from safelight.db.statements import load
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.retry import backoff_seconds
from safelight.engine.accounts.uploads import MAX_UPLOAD_BYTES, UPLOAD_DAYS, Cleaner, UnusablePicture, keep_upload
from safelight.engine.image import settle
from safelight.engine.image.lease import Lease
from safelight.engine.image.outcome import reference_not_fetched
from safelight.net.fetch import Fetch, FetchFailed, FetchRefused
from safelight.storage.blob_store import BlobStore

FETCH_SECONDS = 30.0
"""Of one address, from its resolver to its last byte."""
FETCH_TRIES = 4
"""Visits in a row, each after a longer pause, to addresses that might answer the next time. Chosen."""

_VISIT_SECONDS = 60.0
"""For all addresses of an image, while it holds a worker's slot: it comes back for the rest. Chosen."""

_SQL = load("uploads")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Fetches what claimed images are to be made from."""

    pool: asyncpg.Pool
    blobs: BlobStore
    renderer: Cleaner
    fetch: Fetch
    retry_unit_seconds: float = 1.0
    upload_days: float = UPLOAD_DAYS

    async def keep_for(self, lease: Lease) -> bool:
        """Whether every picture that the image is to be made from is kept. If not, the image is back in the backlog, or
        has ended as `reference-fetch-failed`."""
        try:
            await self._keep(lease)
        except (FetchRefused, UnusablePicture) as error:
            await settle.end(self.pool, lease, ImageStatus.FAILED, reference_not_fetched(_why(error)))
            return False
        except FetchFailed as error:
            failures = lease.failures + 1
            if error.is_final or failures >= FETCH_TRIES:
                await settle.end(self.pool, lease, ImageStatus.FAILED, reference_not_fetched(_why(error)))
                return False
            pause = backoff_seconds(failures, jitter=random.random(), unit_seconds=self.retry_unit_seconds)  # noqa: S311 - spreads load, hides nothing
            log.info("a reference could not be fetched", failures=failures)
            await settle.release(self.pool, lease, after_seconds=pause, failures=failures)
            return False
        return True

    async def _keep(self, lease: Lease) -> None:
        """Raises FetchRefused, FetchFailed and UnusablePicture. What was kept until then stays."""
        ends_at = time.monotonic() + _VISIT_SECONDS
        for row in await self.pool.fetch(_SQL.to_fetch, lease.row_id, timeout=ACQUIRE_SECONDS):
            upload_id = row["kept_id"]
            if upload_id is None:
                left_seconds = min(FETCH_SECONDS, ends_at - time.monotonic())
                if left_seconds <= 0:
                    raise FetchFailed(f"there was no time left within {_VISIT_SECONDS:g} s", is_final=False)
                fetched = await self.fetch(row["url"], max_bytes=MAX_UPLOAD_BYTES, timeout_seconds=left_seconds)
                upload = await keep_upload(
                    self.pool,
                    self.blobs,
                    self.renderer,
                    account=row["account"],
                    data=fetched.data,
                    days=self.upload_days,
                    is_fetched=True,
                )
                upload_id = upload.id
            is_kept = await self.pool.fetchval(
                _SQL.keep_fetched, lease.row_id, row["position"], upload_id, lease.token, timeout=ACQUIRE_SECONDS
            )
            if is_kept is None:
                raise FetchFailed("what it gave was deleted meanwhile, or the lease is lost", is_final=False)


def _why(error: Exception) -> str:
    return error.detail if isinstance(error, UnusablePicture) else str(error)
