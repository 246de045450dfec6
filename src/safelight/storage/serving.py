"""How stored bytes are handed out: a part at a time, and whole or not at all where the store can promise it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, runtime_checkable

from safelight.storage.blob_store import BlobStore


class OpenBlob(Protocol):
    """A blob that is being handed out."""

    length: int
    step_bytes: int
    """What is worth reading at a time."""

    async def read(self, start: int, length: int) -> bytes:
        """Fewer bytes where the blob ends. Raises BlobMissing when it was deleted meanwhile and cannot be read on."""
        ...


@runtime_checkable
class Opens(Protocol):
    """A store in which an open blob stays whole, whoever deletes it."""

    def opened(self, key: str) -> AbstractAsyncContextManager[OpenBlob]: ...


@runtime_checkable
class Presigns(Protocol):
    """A store that hands out its blobs itself, to whoever has the address."""

    async def presign(self, key: str, *, expires_seconds: float) -> str:
        """An address that is good for a GET of the blob until then."""
        ...


@asynccontextmanager
async def opened(store: BlobStore, key: str, *, length: int) -> AsyncGenerator[OpenBlob]:
    """The blob, of which `length` is known, for as long as the block lasts. Raises BlobMissing.

    In a store that cannot keep it open each step is a request of its own.
    """
    if isinstance(store, Opens):
        async with store.opened(key) as blob:
            yield blob
    else:
        yield _Requested(store, key, length)


class _Requested:
    step_bytes = 8 * 1024 * 1024

    def __init__(self, store: BlobStore, key: str, length: int) -> None:
        self._store = store
        self._key = key
        self.length = length

    async def read(self, start: int, length: int) -> bytes:
        return await self._store.read(self._key, start=start, length=length)
