"""Blobs on a local disk, at the paths their keys spell.

A key is walked folder by folder from the root, never through a symbolic link, so no key, and no link that
somebody left in the tree, leads outside of it. New bytes are written aside under a passing name and linked
into place when they are on disk: under a key there is nothing, or the whole blob.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from safelight.storage import durable
from safelight.storage.blob_store import BlobConflict, BlobInfo, BlobMissing, StoredKey
from safelight.storage.keys import MARKER, InvalidKey, is_key, split_key
from safelight.storage.walk import FoundFile, Walk

PARTS = ".safelight-parts"
_OURS = frozenset({MARKER, PARTS})

T = TypeVar("T")

_ENTRIES_AT_ONCE = 500
"""How many of a folder's entries are looked at before others get their turn. Chosen."""


class OpenFile:
    """A blob that stays whole under whoever reads it."""

    __slots__ = ("_file", "length")

    step_bytes = 1024 * 1024

    def __init__(self, file: int, length: int) -> None:
        self._file = file
        self.length = length

    async def read(self, start: int, length: int) -> bytes:
        """Fewer where the blob ends. Cancelling the caller waits for what is being read."""
        reading = asyncio.ensure_future(asyncio.to_thread(_read_at, self._file, start, length))
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            await asyncio.wait([reading])  # the descriptor is closed next, and its number may be another file's then
            raise


class LocalBlobStore:
    """`root` is created when it is missing, and everything under it has to lie on one file system.

    Folders are 0700 and files 0600. The content type is not kept: whoever asks for a key knows it.
    """

    def __init__(self, root: Path) -> None:
        durable.make_folder(root / PARTS)
        self._root = root

    async def put(self, key: str, data: bytes, *, content_type: str) -> None:  # noqa: ARG002
        await asyncio.to_thread(self._put, _segments(key), data)

    async def get(self, key: str) -> bytes:
        return await asyncio.to_thread(self._get, _segments(key))

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        async with self.opened(key) as blob:
            return await blob.read(start, blob.length if length is None else length)

    @asynccontextmanager
    async def opened(self, key: str) -> AsyncGenerator[OpenFile]:
        """The blob as it is now, to be read for as long as the block lasts, also after it was deleted. Raises
        BlobMissing."""
        opening = asyncio.ensure_future(asyncio.to_thread(self._open, _segments(key)))
        try:
            file = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unread)
            raise
        try:
            yield OpenFile(file, os.fstat(file).st_size)
        finally:
            os.close(file)

    async def head(self, key: str) -> BlobInfo | None:
        """Reads the whole blob for its digest."""
        try:
            data = await self.get(key)
        except BlobMissing:
            return None
        return BlobInfo(length=len(data), sha256=hashlib.sha256(data).hexdigest())

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(self._delete, _segments(key))

    async def delete_old(self, key: str, *, older_than_seconds: float) -> bool:
        return await asyncio.to_thread(self._delete_old, _segments(key), older_than_seconds)

    async def keys(self, *, older_than_seconds: float, under: str | None = None) -> AsyncGenerator[Sequence[StoredKey]]:
        put_before = time.time() - older_than_seconds
        folder = () if under is None else tuple(_segments(under))
        walk = await asyncio.to_thread(Walk, self._root, under=folder, passes_over=_OURS.__contains__)
        try:
            while (found := await asyncio.to_thread(walk.some, _ENTRIES_AT_ONCE)) is not None:
                if old := [_stored(file) for file in found if file.written_at <= put_before and is_key(file.path)]:
                    yield old
        finally:
            walk.close()

    async def ensure_marker(self) -> str:
        return await asyncio.to_thread(durable.ensure_marker, self._root, MARKER)

    async def remove_parts(self, *, older_than_seconds: float) -> int:
        return await asyncio.to_thread(self._remove_parts, older_than_seconds)

    def _put(self, segments: list[str], data: bytes) -> None:
        with self._walk(segments[:-1], create=True) as folders:
            with _durable_part(self._root, data) as (parts, part):
                while not self._placed(segments, data, folders[-1], part=part, parts=parts):
                    continue
            # Whoever made a folder or the entry may not have synced it yet: these cover the whole way.
            for folder in reversed(folders):
                durable.sync(folder)

    def _placed(self, segments: list[str], data: bytes, folder: int, *, part: str, parts: int) -> bool:
        """False when the blob that was there is deleted just now: its name is free again."""
        try:
            os.link(part, segments[-1], src_dir_fd=parts, dst_dir_fd=folder)
            return True
        except FileExistsError:
            with suppress(FileNotFoundError):
                if self._read(segments, folder) != data:
                    raise BlobConflict(f"`{'/'.join(segments)}` holds other bytes") from None
                os.utime(segments[-1], dir_fd=folder, follow_symlinks=False)  # wanted, however old
                return True
            return False

    def _get(self, segments: list[str]) -> bytes:
        try:
            with self._walk(segments[:-1], create=False) as folders:
                return self._read(segments, folders[-1])
        except FileNotFoundError:
            raise BlobMissing(f"no blob `{'/'.join(segments)}`") from None

    def _open(self, segments: list[str]) -> int:
        try:
            with self._walk(segments[:-1], create=False) as folders:
                return self._within(segments, durable.open_file, folders[-1])
        except FileNotFoundError:
            raise BlobMissing(f"no blob `{'/'.join(segments)}`") from None

    def _delete(self, segments: list[str]) -> None:
        with suppress(FileNotFoundError), self._walk(segments[:-1], create=False) as folders:
            os.unlink(segments[-1], dir_fd=folders[-1])
            durable.sync(folders[-1])

    def _delete_old(self, segments: list[str], older_than_seconds: float) -> bool:
        with suppress(FileNotFoundError), self._walk(segments[:-1], create=False) as folders:
            if durable.remove_old(folders[-1], segments[-1:], older_than_seconds=older_than_seconds):
                durable.sync(folders[-1])
                return True
        return False

    def _remove_parts(self, older_than_seconds: float) -> int:
        with self._walk([PARTS], create=False) as folders:
            names = durable.list_names(folders[-1])
            return durable.remove_old(folders[-1], names, older_than_seconds=older_than_seconds)

    @contextmanager
    def _walk(self, names: list[str], *, create: bool) -> Iterator[list[int]]:
        """Descriptors of the root and each folder below it. Raises InvalidKey where one is no real folder."""
        with ExitStack() as opened:
            folders = [durable.open_folder(self._root)]
            opened.callback(os.close, folders[0])
            for name in names:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(name, 0o700, dir_fd=folders[-1])
                try:
                    folders.append(durable.enter_folder(name, parent=folders[-1]))
                except OSError as error:
                    if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                        raise
                    path = "/".join(names)
                    raise InvalidKey(f"`{name}` in `{path}` is not a folder of the store") from error
                opened.callback(os.close, folders[-1])
            yield folders

    def _read(self, segments: list[str], folder: int) -> bytes:
        return self._within(segments, durable.read_file, folder)

    def _within(self, segments: list[str], look: Callable[..., T], folder: int) -> T:
        """What `look` makes of the file. Raises InvalidKey where there is something else."""
        try:
            return look(segments[-1], folder=folder)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR):
                raise
            raise InvalidKey(f"`{'/'.join(segments)}` is not a blob of the store") from error


def _close_unread(opening: asyncio.Future[int]) -> None:
    if opening.exception() is None:
        os.close(opening.result())


def _read_at(file: int, start: int, length: int) -> bytes:
    parts: list[bytes] = []
    while length > 0 and (part := os.pread(file, length, start)):
        parts.append(part)
        start += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


@contextmanager
def _durable_part(root: Path, data: bytes) -> Iterator[tuple[int, str]]:
    """The bytes on disk beside the tree, as (folder, name), for as long as the block lasts."""
    folder = durable.open_folder(root / PARTS)
    try:
        name = durable.write_part(data, folder=folder)
        try:
            yield folder, name
        finally:
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(folder)


def _segments(key: str) -> list[str]:
    segments = split_key(key)
    if segments[0] in _OURS:
        raise InvalidKey(f"`{segments[0]}` is the store's own")
    return segments


def _stored(file: FoundFile) -> StoredKey:
    return StoredKey(key="/".join(file.path), put_at=datetime.fromtimestamp(file.written_at, UTC))
