"""Blobs as objects of a bucket, under the names that their keys spell."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from safelight.storage.blob_store import BlobConflict, BlobInfo, BlobMissing, StoredKey
from safelight.storage.bucket import Bucket, BucketTrouble
from safelight.storage.keys import MARKER, UPLOADS, InvalidKey, is_key, is_reserved, split_key

PROBE = ".safelight-probe"
"""What the names of objects begin with that are put to see whether the bucket works."""

_TRIES = 5
"""A key that somebody writes or deletes each time that we try is given up after so many. Chosen."""
_PAUSE_SECONDS = 0.05


class BucketBlobStore:
    """Each operation ends within the bucket's deadline, however many requests it takes.

    A blob is put whole or not at all, and looked at afterwards: a bucket that says yes and keeps nothing is trouble
    like any other. Its digest lies beside it as metadata, so that `head` needs no more than that.
    """

    def __init__(self, bucket: Bucket, *, young_seconds: float = 3600.0) -> None:
        """`young_seconds`: what was put within that time has no need to become young again; some vendors take one write
        of an object per second."""
        self._bucket = bucket
        self._young_seconds = young_seconds

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """The same bytes are written once more if they are not young, which makes them so."""
        name, sha256 = _name(key), hashlib.sha256(data).hexdigest()
        async with self._bucket.within_deadline():
            for tries in range(_TRIES):
                if tries:
                    await asyncio.sleep(_PAUSE_SECONDS * 2**tries)
                if not await self._bucket.create(name, data, content_type=content_type, sha256=sha256):
                    there = await self._bucket.get(name)
                    if there is None:  # deleted meanwhile, or somebody is writing it just now
                        continue
                    if there != data:
                        raise BlobConflict(f"`{key}` holds other bytes")
                    if await self._is_old(name):
                        await self._bucket.overwrite(name, data, content_type=content_type, sha256=sha256)
                if await self._is_there(name, BlobInfo(length=len(data), sha256=sha256)):
                    return
        raise BucketTrouble("the bucket took a blob and does not have it")

    async def get(self, key: str) -> bytes:
        async with self._bucket.within_deadline():
            return _there(key, await self._bucket.get(_name(key)))

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        async with self._bucket.within_deadline():
            return _there(key, await self._bucket.get_range(_name(key), start=start, length=length))

    async def head(self, key: str) -> BlobInfo | None:
        async with self._bucket.within_deadline():
            info = await self._bucket.head(_name(key))
        return None if info is None else BlobInfo(length=info.length, sha256=info.sha256)

    async def delete(self, key: str) -> None:
        async with self._bucket.within_deadline():
            await self._bucket.delete(_name(key))

    async def delete_old(self, key: str, *, older_than_seconds: float) -> bool:
        """Old by the bucket's clock against ours. No vendor deletes on such a condition: a put that comes between the
        look and the deletion finds the blob gone, and writes it again, if it looks last."""
        put_before = time.time() - older_than_seconds
        async with self._bucket.within_deadline():
            info = await self._bucket.head(_name(key))
            if info is None or info.put_at.timestamp() > put_before:
                return False
            await self._bucket.delete(_name(key))
        return True

    async def keys(self, *, older_than_seconds: float, under: str | None = None) -> AsyncGenerator[Sequence[StoredKey]]:
        put_before = time.time() - older_than_seconds
        folder = None if under is None else "/".join(_segments(under))
        async with aclosing(self._bucket.list(folder)) as pages:
            async for page in pages:
                old = [
                    StoredKey(key=each.name, put_at=each.put_at)
                    for each in page
                    if each.put_at.timestamp() <= put_before and _is_blob(each.name)
                ]
                if old:
                    yield old

    async def presign(self, key: str, *, expires_seconds: float) -> str:
        """An address at which anybody may get the blob for so long, from the vendor itself, as the content type that it
        was put with."""
        return await self._bucket.sign(_name(key), expires_seconds=expires_seconds)

    async def ensure_marker(self) -> str:
        async with self._bucket.within_deadline():
            if (marker := await self._bucket.get(MARKER)) is None:
                fresh = secrets.token_hex(16).encode()
                digest = hashlib.sha256(fresh).hexdigest()
                await self._bucket.create(MARKER, fresh, content_type="text/plain", sha256=digest)
                marker = await self._bucket.get(MARKER)
        if not marker:
            raise BucketTrouble("the bucket took a blob and does not have it")
        return marker.decode(errors="replace")

    async def remove_parts(self, *, older_than_seconds: float) -> int:  # noqa: ARG002 - the protocol's signature
        """There are none: an object that was not sent to its end does not exist."""
        return 0

    async def _is_old(self, name: str) -> bool:
        found = await self._bucket.head(name)
        return found is not None and found.put_at.timestamp() <= time.time() - self._young_seconds

    async def _is_there(self, name: str, expected: BlobInfo) -> bool:
        """Where a store keeps no metadata the length has to do."""
        found = await self._bucket.head(name)
        return found is not None and found.length == expected.length and found.sha256 in (None, expected.sha256)


def _name(key: str) -> str:
    return "/".join(_segments(key))


def _segments(key: str) -> list[str]:
    segments = split_key(key)
    if _is_own(segments[0]):
        raise InvalidKey(f"`{segments[0]}` is the store's own")
    return segments


def _is_blob(name: str) -> bool:
    segments = name.split("/")
    return is_key(segments) and not _is_own(segments[0])


def _is_own(segment: str) -> bool:
    return is_reserved(segment) and segment != UPLOADS


def _there(key: str, data: bytes | None) -> bytes:
    if data is None:
        raise BlobMissing(f"no blob `{key}`")
    return data
