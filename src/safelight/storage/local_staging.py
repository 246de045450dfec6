"""Attempts staged in a folder that all workers of an installation share.

An attempt's bytes are on the medium under their name before its sidecar gets one. Small attempts that come while others
are being staged share a thread with each other, and what a sync takes along: see `durable.write_parts`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
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
from safelight.together import Together

_log = logging.getLogger(__name__)

MARKER = ".safelight-staging"
"""The file that tells this folder from every other."""

_SMALL_BYTES = 256 << 10
_MOST_TOGETHER = 16
"""Chosen: a group takes no longer than a picture of some megabytes does."""
_BUSY_PER_SECOND = 200.0
_LINGER_SECONDS = 0.005
"""Where so many are staged. Chosen."""


class LocalStaging:
    """The folder of staged attempts. `root` is created when it is missing, private to us.

    Every method but `free_bytes` works in a thread; cancelling the caller does not stop a write under way.
    """

    def __init__(self, root: Path) -> None:
        durable.make_folder(root)
        self._root = root
        self._small: Together[None, tuple[Receipt, bytes], Staged | StagedConflict] = Together(
            self._stage_together,
            most=_MOST_TOGETHER,
            shared=(),
            linger_seconds=_LINGER_SECONDS,
            busy_per_second=_BUSY_PER_SECOND,
        )
        self._unneeded: Together[None, str, None] = Together(
            self._discard_together,
            most=_MOST_TOGETHER,
            shared=(),
            linger_seconds=4 * _LINGER_SECONDS,
            busy_per_second=_BUSY_PER_SECOND,
        )

    async def stage(self, receipt: Receipt, data: bytes) -> Staged:
        if len(data) <= _SMALL_BYTES:
            staged = await self._small(None, (receipt, data))
        else:
            [staged] = await asyncio.to_thread(self._stage, [(receipt, data)])
        if isinstance(staged, StagedConflict):
            raise staged
        return staged

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
        await self._unneeded(None, checked_id(attempt_id))

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

    async def _stage_together(
        self, _key: None, attempts: Sequence[tuple[Receipt, bytes]]
    ) -> list[Staged | StagedConflict]:
        return await asyncio.to_thread(self._stage, attempts)

    async def _discard_together(self, _key: None, attempt_ids: Sequence[str]) -> list[None]:
        return await asyncio.to_thread(self._discard, attempt_ids)

    def _stage(self, attempts: Sequence[tuple[Receipt, bytes]]) -> list[Staged | StagedConflict]:
        """What became of each, in order. Raises OSError: then none of them is known to be staged."""
        new: dict[str, tuple[Receipt, bytes]] = {}
        for receipt, data in attempts:
            new.setdefault(checked(receipt, data), (receipt, data))
        earlier = {attempt_id: found for attempt_id in new if (found := self._earlier(attempt_id))}
        for attempt_id in earlier:
            del new[attempt_id]
        with self._opened() as folder:
            if earlier:
                durable.sync(folder)  # its writer may not have come that far
            _place(new, folder)
        staged = {attempt_id: receipt for attempt_id, (receipt, _) in new.items()} | earlier
        return [_outcome(receipt, staged[receipt.attempt_id]) for receipt, _ in attempts]

    def _earlier(self, attempt_id: str) -> Receipt | None:
        """The receipt of what is staged already; None when that is damaged, so that it is replaced."""
        try:
            found = self._load(attempt_id)
        except StagedCorrupt:
            return None
        return found[0] if found is not None else None

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

    def _discard(self, attempt_ids: Sequence[str]) -> list[None]:
        with self._opened() as folder:
            sidecars = [durable.removed(attempt_id + SIDECAR, folder=folder) for attempt_id in attempt_ids]
            if any(sidecars):
                durable.sync(folder)
            for attempt_id in attempt_ids:
                durable.removed(attempt_id + BYTES, folder=folder)
        return [None] * len(attempt_ids)

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


def _place(attempts: Mapping[str, tuple[Receipt, bytes]], folder: int) -> None:
    """Each is whole under its names, first all bytes and then all sidecars; or OSError is raised."""
    if not attempts:
        return
    pictures = {attempt_id + BYTES: data for attempt_id, (_, data) in attempts.items()}
    sidecars = {attempt_id + SIDECAR: encode(receipt) for attempt_id, (receipt, _) in attempts.items()}
    parts = iter(durable.write_parts([*pictures.values(), *sidecars.values()], folder=folder))
    for names in (pictures, sidecars):
        for name in names:
            os.rename(next(parts), name, src_dir_fd=folder, dst_dir_fd=folder)
        durable.sync(folder)
    for picture, sidecar in zip(pictures, sidecars, strict=True):
        if not _is_there(picture, folder):  # somebody else has staged, used and discarded it while we were stopped
            durable.removed(sidecar, folder=folder)


def _is_there(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _outcome(asked: Receipt, kept: Receipt) -> Staged | StagedConflict:
    if kept.sha256 != asked.sha256:
        return StagedConflict(f"attempt `{asked.attempt_id}` is staged with other bytes")
    return Staged(receipt=kept)
