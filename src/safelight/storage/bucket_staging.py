"""Attempts staged in the bucket that the pictures go to, so that any worker on any host finds them.

While the bucket is away they are staged in a folder of this host, and it is said that they are: nobody else may then
take them for lost. Once the bucket answers again they are moved there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from contextlib import aclosing, suppress

from safelight.storage.bucket import Bucket, BucketTrouble, ListedObject
from safelight.storage.bucket_blobs import PROBE
from safelight.storage.keys import STAGING
from safelight.storage.local_staging import LocalStaging
from safelight.storage.staging import (
    BYTES,
    SIDECAR,
    BroughtBack,
    Receipt,
    Staged,
    StagedConflict,
    StagedCorrupt,
    by_age,
    checked,
    checked_id,
    decode,
    encode,
    matched,
)

_log = logging.getLogger(__name__)

_READ_AT_ONCE = 8
"""Receipts read at a time. Chosen."""


class BucketStaging:
    """`fallback` is for this host alone; several processes of the host may share it.

    Remembers that the bucket has failed, until `bring_back` finds it well: meanwhile paid bytes go to the disk at once
    instead of waiting for a deadline each.
    """

    def __init__(self, bucket: Bucket, fallback: LocalStaging) -> None:
        self._bucket = bucket
        self._fallback = fallback
        self._is_away = False
        self._known: dict[tuple[str, str | None], Receipt] = {}

    async def stage(self, receipt: Receipt, data: bytes) -> Staged:
        await asyncio.to_thread(checked, receipt, data)
        if not self._is_away:
            try:
                return Staged(receipt=await self._put(receipt, data))
            except OSError as error:
                self._is_away = True
                _log.error("attempt %s is staged on this host only: %s", receipt.attempt_id, error)
        try:
            staged = await self._fallback.stage(receipt, data)
        except OSError:  # then even a bucket that has just failed is the better place
            return Staged(receipt=await self._put(receipt, data))
        return Staged(receipt=staged.receipt, only_in=await self._fallback.ensure_marker())

    async def pending(self) -> list[Receipt]:
        receipts, corrupt = await self._scan()
        if corrupt:
            _log.warning("staged attempts that cannot be read: %s", ", ".join(corrupt))
        return receipts

    async def corrupt(self) -> list[str]:
        _, corrupt = await self._scan()
        return [*corrupt, *await self._fallback.corrupt()]

    async def load(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        with suppress(StagedCorrupt):  # then the bucket may have it whole
            if (here := await self._fallback.load(attempt_id)) is not None:
                return here
        async with self._bucket.within_deadline():
            return await self._load(checked_id(attempt_id))

    async def discard(self, attempt_id: str) -> None:
        await self._fallback.discard(attempt_id)
        async with self._bucket.within_deadline():
            await self._bucket.delete(_sidecar(attempt_id))
            await self._bucket.delete(_bytes(attempt_id))

    async def remove_incomplete(self, *, older_than_seconds: float) -> int:
        removed = await self._fallback.remove_incomplete(older_than_seconds=older_than_seconds)
        written_before = time.time() - older_than_seconds
        found = await self._list()
        for each in found.values():
            is_alone = each.name.endswith(BYTES) and _other(each.name) not in found
            if is_alone and each.put_at.timestamp() <= written_before:
                async with self._bucket.within_deadline():
                    await self._bucket.delete(each.name)
                removed += 1
        return removed

    async def bring_back(self) -> BroughtBack:
        """Receipts that this host cannot read are left where they are."""
        if self._is_away:
            with suppress(OSError):
                await self._probe()
                self._is_away = False
                _log.warning("the bucket answers again")
        moved: list[str] = []
        stranded: list[Receipt] = []
        for receipt in await self._fallback.pending():
            if not self._is_away and await self._move(receipt):
                moved.append(receipt.attempt_id)
            else:
                stranded.append(receipt)
        here = await self._fallback.ensure_marker()
        return BroughtBack(moved=tuple(moved), stranded=tuple(stranded), here=here)

    async def ensure_marker(self) -> str:
        """The bucket itself is what workers share."""
        return "bucket"

    async def probe(self) -> None:
        try:
            await self._probe()
        except OSError:
            await self._fallback.probe()

    def free_bytes(self) -> int | None:
        """Of the disk, while the bucket is away."""
        return self._fallback.free_bytes() if self._is_away else None

    async def _put(self, receipt: Receipt, data: bytes) -> Receipt:
        """The first receipt for these bytes. Raises StagedConflict."""
        attempt_id = receipt.attempt_id
        async with self._bucket.within_deadline():
            if not await self._create(_bytes(attempt_id), data, content_type="application/octet-stream"):
                earlier = None
                with suppress(StagedCorrupt):  # then this copy replaces it
                    earlier = await self._load(attempt_id)
                if earlier is not None:
                    if earlier[0].sha256 != receipt.sha256:
                        raise StagedConflict(f"attempt `{attempt_id}` is staged with other bytes")
                    return earlier[0]
                await self._bucket.delete(_sidecar(attempt_id))
                await self._write(_bytes(attempt_id), data, content_type="application/octet-stream")
            await self._write(_sidecar(attempt_id), encode(receipt), content_type="application/json")
        return receipt

    async def _create(self, name: str, data: bytes, *, content_type: str) -> bool:
        sha256 = hashlib.sha256(data).hexdigest()
        is_new = await self._bucket.create(name, data, content_type=content_type, sha256=sha256)
        if is_new:
            await self._look(name, data)
        return is_new

    async def _write(self, name: str, data: bytes, *, content_type: str) -> None:
        sha256 = hashlib.sha256(data).hexdigest()
        await self._bucket.overwrite(name, data, content_type=content_type, sha256=sha256)
        await self._look(name, data)

    async def _look(self, name: str, data: bytes) -> None:
        """Raises BucketTrouble when the bucket does not have what it said it took."""
        found = await self._bucket.head(name)
        if found is None or found.length != len(data):
            raise BucketTrouble("the bucket took staged bytes and does not have them")

    async def _load(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        sidecar = await self._bucket.get(_sidecar(attempt_id))
        if sidecar is None:
            return None
        receipt = decode(sidecar, attempt_id=attempt_id)
        data = await self._bucket.get(_bytes(attempt_id))
        if data is None:
            if await self._bucket.get(_sidecar(attempt_id)) is None:
                return None  # discarded meanwhile
            raise StagedCorrupt(f"attempt `{attempt_id}`: the receipt is there, its bytes are not")
        return await asyncio.to_thread(matched, receipt, data)

    async def _scan(self) -> tuple[list[Receipt], list[str]]:
        """Complete attempts, and the names of sidecars that are none. A sidecar never changes: it is read once."""
        found = await self._list()
        sidecars = [each for each in found.values() if each.name.endswith(SIDECAR)]
        limit = asyncio.Semaphore(_READ_AT_ONCE)

        async def read(each: ListedObject) -> Receipt | str | None:
            async with limit:
                try:
                    return await self._read(each, found.get(_other(each.name)))
                except (StagedCorrupt, ValueError):
                    return each.name.rpartition("/")[2]

        read_now = await asyncio.gather(*(read(each) for each in sidecars))
        self._known = {
            (each.name, each.etag): receipt
            for each, receipt in zip(sidecars, read_now, strict=True)
            if isinstance(receipt, Receipt)
        }
        corrupt = sorted(each for each in read_now if isinstance(each, str))
        return by_age([each for each in read_now if isinstance(each, Receipt)]), corrupt

    async def _read(self, sidecar: ListedObject, staged: ListedObject | None) -> Receipt | None:
        """None for what is discarded meanwhile. Looks at the bytes' length, not at the bytes."""
        receipt = self._known.get((sidecar.name, sidecar.etag))
        if receipt is None:
            attempt_id = checked_id(sidecar.name.rpartition("/")[2].removesuffix(SIDECAR))
            async with self._bucket.within_deadline():
                content = await self._bucket.get(sidecar.name)
            if content is None:
                return None
            receipt = decode(content, attempt_id=attempt_id)
        if staged is None or staged.length != receipt.length:
            async with self._bucket.within_deadline():  # the listing may have come between the two
                now = await self._bucket.head(_bytes(receipt.attempt_id))
                if now is None and await self._bucket.head(sidecar.name) is None:
                    return None
            if now is None or now.length != receipt.length:
                raise StagedCorrupt(f"attempt `{receipt.attempt_id}`: its bytes are not those of the receipt")
        return receipt

    async def _list(self) -> dict[str, ListedObject]:
        async with aclosing(self._bucket.list(STAGING)) as pages:
            return {each.name: each async for page in pages for each in page}

    async def _move(self, receipt: Receipt) -> bool:
        """Whether the attempt is in the bucket now, and on this host no more."""
        try:
            staged = await self._fallback.load(receipt.attempt_id)
            if staged is not None:
                await self._put(*staged)
                await self._fallback.discard(receipt.attempt_id)
            return True
        except StagedCorrupt as error:
            _log.error("what was staged on this host is damaged: %s", error)
        except StagedConflict as error:
            _log.error("what was staged on this host is not what the bucket holds: %s", error)
        except OSError as error:
            self._is_away = True
            _log.warning("the bucket is away again: %s", error)
        return False

    async def _probe(self) -> None:
        """Writes an object, as staging does."""
        async with self._bucket.within_deadline():
            await self._write(f"{PROBE}-staging", b"safelight", content_type="text/plain")


def _bytes(attempt_id: str) -> str:
    return f"{STAGING}/{checked_id(attempt_id)}{BYTES}"


def _sidecar(attempt_id: str) -> str:
    return f"{STAGING}/{checked_id(attempt_id)}{SIDECAR}"


def _other(name: str) -> str:
    """The bytes of a sidecar, or the sidecar of bytes."""
    stem, _, suffix = name.rpartition(".")
    return stem + (BYTES if f".{suffix}" == SIDECAR else SIDECAR)
