"""Attempts staged in a folder that all workers of an installation share, each file synced before the next one."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safelight.storage import durable
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

MARKER = ".safelight-staging"
"""The file that tells this folder from every other."""


class LocalStaging:
    """The folder of staged attempts. `root` is created when it is missing, private to us.

    Every method but `free_bytes` works in a thread; cancelling the caller does not stop a write under way.
    """

    def __init__(self, root: Path) -> None:
        durable.make_folder(root)
        self._root = root

    async def stage(self, receipt: Receipt, data: bytes) -> Staged:
        return await asyncio.to_thread(self._stage, receipt, data)

    async def pending(self) -> list[Receipt]:
        receipts, corrupt = await asyncio.to_thread(self._scan)
        if corrupt:
            _log.warning("staged attempts that cannot be read: %s", ", ".join(corrupt))
        return receipts

    async def corrupt(self) -> list[str]:
        _, corrupt = await asyncio.to_thread(self._scan)
        return corrupt

    async def load(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        return await asyncio.to_thread(self._load, checked_id(attempt_id))

    async def discard(self, attempt_id: str) -> None:
        await asyncio.to_thread(self._discard, checked_id(attempt_id))

    async def remove_incomplete(self, *, older_than_seconds: float) -> int:
        return await asyncio.to_thread(self._remove_incomplete, older_than_seconds)

    async def ensure_marker(self) -> str:
        return await asyncio.to_thread(durable.ensure_marker, self._root, MARKER)

    async def bring_back(self) -> BroughtBack:
        """Nothing lies elsewhere."""
        return BroughtBack()

    async def probe(self) -> None:
        """Writes a file, as staging does."""
        await self.ensure_marker()

    def free_bytes(self) -> int:
        """What the file system still has room for."""
        return shutil.disk_usage(self._root).free

    def _stage(self, receipt: Receipt, data: bytes) -> Staged:
        attempt_id = checked(receipt, data)
        earlier = None
        with suppress(StagedCorrupt):  # then this copy replaces it
            earlier = self._load(attempt_id)
        with self._opened() as folder:
            if earlier is not None:
                if earlier[0].sha256 != receipt.sha256:
                    raise StagedConflict(f"attempt `{attempt_id}` is staged with other bytes")
                durable.sync(folder)  # its writer may not have come that far
                return Staged(receipt=earlier[0])
            _place(data, attempt_id + BYTES, folder=folder)
            _place(encode(receipt), attempt_id + SIDECAR, folder=folder)
        return Staged(receipt=receipt)

    def _scan(self) -> tuple[list[Receipt], list[str]]:
        receipts: list[Receipt] = []
        corrupt: list[str] = []
        with self._opened() as folder:
            for name in durable.list_names(folder):
                if not name.endswith(SIDECAR):
                    continue
                try:
                    receipt = self._read_receipt(name.removesuffix(SIDECAR), folder)
                    if receipt is not None:
                        receipts.append(receipt)
                except (StagedCorrupt, OSError):  # one bad file does not hide the others
                    corrupt.append(name)
        return by_age(receipts), corrupt

    def _load(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        with self._opened() as folder:
            receipt = self._read_receipt(attempt_id, folder)
            if receipt is None:
                return None
            try:
                data = durable.read_file(attempt_id + BYTES, folder=folder)
            except FileNotFoundError:
                return self._gone(attempt_id, folder)
        return matched(receipt, data)

    def _read_receipt(self, attempt_id: str, folder: int) -> Receipt | None:
        """None when nothing is staged. Looks at the bytes' length, not at the bytes."""
        try:
            receipt = decode(durable.read_file(attempt_id + SIDECAR, folder=folder), attempt_id=attempt_id)
        except FileNotFoundError:
            return None
        try:
            length = os.stat(attempt_id + BYTES, dir_fd=folder, follow_symlinks=False).st_size
        except FileNotFoundError:
            return self._gone(attempt_id, folder)
        if length != receipt.length:
            raise StagedCorrupt(f"attempt `{attempt_id}`: {length} bytes are staged, not {receipt.length}")
        return receipt

    def _gone(self, attempt_id: str, folder: int) -> None:
        """Bytes that went with their sidecar were discarded meanwhile; else the sidecar has lost them."""
        with suppress(FileNotFoundError):
            os.stat(attempt_id + SIDECAR, dir_fd=folder, follow_symlinks=False)
            raise StagedCorrupt(f"attempt `{attempt_id}`: the receipt is there, its bytes are not")

    def _discard(self, attempt_id: str) -> None:
        with self._opened() as folder:
            with suppress(FileNotFoundError):
                os.unlink(attempt_id + SIDECAR, dir_fd=folder)
                durable.sync(folder)
            with suppress(FileNotFoundError):
                os.unlink(attempt_id + BYTES, dir_fd=folder)

    def _remove_incomplete(self, older_than_seconds: float) -> int:
        with self._opened() as folder:
            names = set(durable.list_names(folder))
            incomplete = [
                name
                for name in sorted(names)
                if name.endswith(durable.PART_SUFFIX)
                or (name.endswith(BYTES) and name.removesuffix(BYTES) + SIDECAR not in names)
            ]
            return durable.remove_old(folder, incomplete, older_than_seconds=older_than_seconds)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        folder = durable.open_folder(self._root)
        try:
            yield folder
        finally:
            os.close(folder)


def _place(data: bytes, name: str, *, folder: int) -> None:
    part = durable.write_part(data, folder=folder)
    os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    durable.sync(folder)
