"""The stores of an installation, opened where its settings say. Loads what a bucket needs only for a bucket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safelight.storage.blob_store import BlobStore
from safelight.storage.local import LocalBlobStore
from safelight.storage.local_staging import LocalStaging
from safelight.storage.place import BucketPlace, Folder, StorageUnusable
from safelight.storage.staging import Staging

if TYPE_CHECKING:
    from safelight.storage.bucket import Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Finished pictures, and paid ones that are not finished. `close` ends what was opened with them."""

    blobs: BlobStore
    staging: Staging
    close: Callable[[], None]

    async def marker(self) -> str:
        """What tells them from those of any other installation. Raises StorageUnusable."""
        try:
            return f"{await self.blobs.ensure_marker()} {await self.staging.ensure_marker()}"
        except OSError as error:
            raise StorageUnusable(f"The storage cannot be used: {error.strerror}; see `safelight doctor`.") from error


def open_stores(place: Folder | BucketPlace, *, staging_folder: Path) -> Stores:
    """With a bucket, `staging_folder` is this host's own, for when the bucket is away. Asks no bucket anything. Raises
    StorageUnusable when the environment does not say how to reach it."""
    match place:
        case Folder():
            return Stores(blobs=LocalBlobStore(place.root), staging=LocalStaging(staging_folder), close=_nothing)
        case BucketPlace():
            from safelight.storage.bucket_blobs import BucketBlobStore
            from safelight.storage.bucket_staging import BucketStaging

            bucket = _bucket(place)
            staging = BucketStaging(bucket, LocalStaging(staging_folder))
            return Stores(blobs=BucketBlobStore(bucket), staging=staging, close=bucket.close)


def open_blobs(place: Folder | BucketPlace) -> BlobStore:
    """Finished pictures alone, as whoever only reads them needs. Raises StorageUnusable as `open_stores` does."""
    match place:
        case Folder():
            return LocalBlobStore(place.root)
        case BucketPlace():
            from safelight.storage.bucket_blobs import BucketBlobStore

            return BucketBlobStore(_bucket(place))


def _bucket(place: BucketPlace) -> Bucket:
    from safelight.storage.bucket import Bucket

    try:
        return Bucket(place)
    except ValueError as error:
        raise StorageUnusable(f"{place} cannot be used: {error}") from error


def _nothing() -> None:
    """A folder needs no end."""
