"""Where finished pictures live: immutable blobs under keys of ours."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobInfo:
    """`sha256` is None where a store cannot tell without sending the whole blob."""

    length: int
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredKey:
    """`put_at`: when the blob was last put, also if it was there by then."""

    key: str
    put_at: datetime


class BlobMissing(LookupError):
    """The store holds nothing under this key."""


class BlobConflict(Exception):
    """The key is taken by other bytes; nothing was written."""


class BlobStore(Protocol):
    """Every method raises InvalidKey for a key outside of the rule, and OSError when the store fails.

    Cancelling the caller does not undo a write under way: the blob ends up there as a whole, or not at all.
    """

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        """Afterwards the blob is durable, and young again if it was there. The same bytes are fine; others raise
        BlobConflict."""
        ...

    async def get(self, key: str) -> bytes:
        """Raises BlobMissing."""
        ...

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """The bytes from `start` on, `length` of them if there are as many. Raises BlobMissing."""
        ...

    async def head(self, key: str) -> BlobInfo | None:
        """None when there is no such blob."""
        ...

    async def delete(self, key: str) -> None:
        """Afterwards the blob is gone, whether or not it was there."""
        ...

    async def delete_old(self, key: str, *, older_than_seconds: float) -> bool:
        """As `delete`, unless somebody has put the blob since; whether it is gone because of this."""
        ...

    def keys(self, *, older_than_seconds: float, under: str | None = None) -> AsyncGenerator[Sequence[StoredKey]]:
        """Every blob that was last put that long ago, some at a time, in no order; with `under`, those in that folder.
        Never holds all of them; what is put or deleted meanwhile may be among them or not."""
        ...

    async def ensure_marker(self) -> str:
        """The random id that the store keeps from its first use on: equal ids mean one and the same store."""
        ...

    async def remove_parts(self, *, older_than_seconds: float) -> int:
        """Deletes what writers that died left half written, and returns how many files that was.

        Choose an age that no write reaches.
        """
        ...
