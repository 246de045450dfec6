"""Storage and rendering in memory, as durable as the real ones, and as liable to fail as a plan says."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from safelight.imaging.pool import ChildDied, RenderPool
from safelight.imaging.rendition import MIME, NotAnImage, Original, Rendered, Rendition, Verified, kept
from safelight.storage.blob_store import BlobConflict, BlobInfo, BlobMissing, StoredKey
from safelight.storage.staging import (
    BroughtBack,
    Receipt,
    Staged,
    StagedConflict,
    by_age,
    checked,
    decode,
    encode,
    matched,
)
from tests.simulation.process import Trouble, point

_PICTURE = b"picture:"


def picture_of(attempt_key: str) -> bytes:
    """What the vendor makes; no two calls bring the same."""
    return _PICTURE + attempt_key.encode()


class Shelf:
    """The place where paid bytes are staged. It outlives every process."""

    def __init__(self) -> None:
        self._staged: dict[str, tuple[bytes, bytes]] = {}

    def has(self, attempt_id: str) -> bool:
        return attempt_id in self._staged

    async def stage(self, receipt: Receipt, data: bytes) -> Staged:
        attempt_id = checked(receipt, data)
        trouble = await point("stage")
        if trouble in (Trouble.NO_ROOM, Trouble.LOSE_QUESTION):
            raise OSError("no room")
        earlier = self._staged.get(attempt_id)
        if earlier is None:
            self._staged[attempt_id] = (encode(receipt), data)
        elif decode(earlier[0], attempt_id=attempt_id).sha256 != receipt.sha256:
            raise StagedConflict(attempt_id)
        if trouble is Trouble.LOSE_ANSWER:
            raise OSError("staged, but nobody is told")
        return Staged(receipt=receipt)

    async def pending(self) -> list[Receipt]:
        await _or_away("pending")
        return by_age([decode(sidecar, attempt_id=name) for name, (sidecar, _) in self._staged.items()])

    async def corrupt(self) -> list[str]:
        return []

    async def load(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        await _or_away("load")
        found = self._staged.get(attempt_id)
        return matched(decode(found[0], attempt_id=attempt_id), found[1]) if found is not None else None

    async def discard(self, attempt_id: str) -> None:
        trouble = await point("discard")
        if trouble is Trouble.LOSE_QUESTION:
            raise OSError("away")
        self._staged.pop(attempt_id, None)
        if trouble is Trouble.LOSE_ANSWER:
            raise OSError("gone, but nobody is told")

    async def remove_incomplete(self, *, older_than_seconds: float) -> int:
        return 0

    async def bring_back(self) -> BroughtBack:
        return BroughtBack()

    async def ensure_marker(self) -> str:
        return "shelf"

    async def probe(self) -> None:
        if await point("probe") in (Trouble.NO_ROOM, Trouble.LOSE_QUESTION):
            raise OSError("no room")

    def free_bytes(self) -> int | None:
        return None


class Gallery:
    """The blob store. What is put there never changes."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:
        trouble = await point("store")
        if trouble in (Trouble.NO_ROOM, Trouble.LOSE_QUESTION):
            raise OSError("no room")
        if self.blobs.setdefault(key, data) != data:
            raise BlobConflict(key)
        if trouble is Trouble.LOSE_ANSWER:
            raise OSError("stored, but nobody is told")

    async def get(self, key: str) -> bytes:
        await _or_away("read")
        try:
            return self.blobs[key]
        except KeyError:
            raise BlobMissing(key) from None

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        data = await self.get(key)
        return data[start : None if length is None else start + length]

    async def head(self, key: str) -> BlobInfo | None:
        data = self.blobs.get(key)
        return None if data is None else BlobInfo(length=len(data), sha256=hashlib.sha256(data).hexdigest())

    async def delete(self, key: str) -> None:
        self.blobs.pop(key, None)

    async def delete_old(self, key: str, *, older_than_seconds: float) -> bool:
        return False

    async def keys(self, *, older_than_seconds: float, under: str | None = None) -> AsyncGenerator[Sequence[StoredKey]]:
        for _ in ():
            yield ()

    async def ensure_marker(self) -> str:
        return "gallery"

    async def remove_parts(self, *, older_than_seconds: float) -> int:
        return 0


class Darkroom(RenderPool):
    """Knows a picture of the simulated vendors when it sees one, and makes small ones of it."""

    async def examine(
        self, data: bytes, outputs: Sequence[Rendition | Original] = ()
    ) -> tuple[Verified, list[Rendered]]:
        if await point("render") in (Trouble.LOSE_QUESTION, Trouble.LOSE_ANSWER):
            raise ChildDied("the rendering process died")
        if not data.startswith(_PICTURE):
            raise NotAnImage("not-an-image", "no picture")
        verified = Verified(mime=MIME["png"], width_px=64, height_px=64, frames=1)
        return verified, [
            kept(each, data, verified) if isinstance(each, Original) else _made(each, data) for each in outputs
        ]


def _made(wanted: Rendition, data: bytes) -> Rendered:
    small = Rendered(
        name=wanted.name,
        data=wanted.name.encode() + b" of " + data,
        width_px=wanted.width_px,
        height_px=wanted.height_px,
        format=wanted.format,
        mime=MIME[wanted.format],
        sha256="",
    )
    return replace(small, sha256=hashlib.sha256(small.data).hexdigest())


async def _or_away(where: str) -> None:
    if await point(where) in (Trouble.LOSE_QUESTION, Trouble.LOSE_ANSWER):
        raise OSError("away")
