"""Attempts staged in a folder that all workers of an installation share.

A staged attempt is one file, `{attempt_id}.staged`: a line with its receipt, then the vendor's bytes. It is on the
medium before it gets its name, so that whatever has a name is whole. Small attempts that come while others are being
staged share a thread and syncs with each other. Release 0.1 staged two files for an attempt: see `staged_pairs`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from safelight.storage import durable, staged_pairs
from safelight.storage.staging import (
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
STAGED = ".staged"

_LONGEST_RECEIPT_BYTES = 1 << 20

_SMALL_BYTES = 256 << 10
_MOST_TOGETHER = 16
"""Chosen: a group takes no longer than a picture of some megabytes does."""
_LINGER_SECONDS = 0.005
"""Where more than two hundred are staged a second. Chosen."""


class LocalStaging:
    """The folder of staged attempts. `root` is created when it is missing, private to us.

    Every method but `free_bytes` works in a thread; cancelling the caller does not stop a write under way.
    """

    def __init__(self, root: Path) -> None:
        durable.make_folder(root)
        self._root = root
        self._small: Together[None, tuple[Receipt, bytes], Staged | StagedConflict] = Together(
            self._stage_together, most=_MOST_TOGETHER, shared=(), linger_seconds=_LINGER_SECONDS
        )
        self._unneeded: Together[None, str, None] = Together(
            self._discard_together, most=_MOST_TOGETHER, shared=(), linger_seconds=4 * _LINGER_SECONDS
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
        with self._opened() as folder:
            earlier = {attempt_id: found for attempt_id in new if (found := _earlier(attempt_id, folder))}
            for attempt_id in earlier:
                del new[attempt_id]
            if earlier:
                durable.sync(folder)  # its writer may not have come that far
            _place(new, folder)
        staged = {attempt_id: receipt for attempt_id, (receipt, _) in new.items()} | earlier
        return [_outcome(receipt, staged[receipt.attempt_id]) for receipt, _ in attempts]

    def _scan(self) -> tuple[list[Receipt], list[str]]:
        receipts: dict[str, Receipt] = {}
        corrupt: list[str] = []
        with self._opened() as folder:
            for name in durable.list_names(folder):
                attempt_id, dot, suffix = name.rpartition(".")
                read = _READERS.get(dot + suffix)
                if read is None:
                    continue
                try:
                    receipt = read(attempt_id, folder)
                except (StagedCorrupt, OSError):  # one bad file does not hide the others
                    corrupt.append(name)
                else:
                    if receipt is not None:
                        receipts[attempt_id] = receipt
        return by_age(list(receipts.values())), corrupt

    def _load(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        with self._opened() as folder:
            return _load(attempt_id, folder)

    def _discard(self, attempt_ids: Sequence[str]) -> list[None]:
        with self._opened() as folder:
            for attempt_id in attempt_ids:
                durable.removed(attempt_id + STAGED, folder=folder)
                staged_pairs.discard(attempt_id, folder)
        return [None] * len(attempt_ids)

    def _remove_incomplete(self, older_than_seconds: float) -> int:
        with self._opened() as folder:
            names = durable.list_names(folder)
            incomplete = [name for name in names if name.endswith(durable.PART_SUFFIX)]
            incomplete += staged_pairs.incomplete(names)
            return durable.remove_old(folder, incomplete, older_than_seconds=older_than_seconds)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        folder = durable.open_folder(self._root)
        try:
            yield folder
        finally:
            os.close(folder)


def _place(attempts: Mapping[str, tuple[Receipt, bytes]], folder: int) -> None:
    """Each is whole under its name, by one sync of the folder for all; or OSError is raised."""
    if not attempts:
        return
    contents = [(encode(receipt), b"\n", data) for receipt, data in attempts.values()]
    parts = durable.write_parts(contents, folder=folder)
    for attempt_id, part in zip(attempts, parts, strict=True):
        os.rename(part, attempt_id + STAGED, src_dir_fd=folder, dst_dir_fd=folder)
    durable.sync(folder)


def _earlier(attempt_id: str, folder: int) -> Receipt | None:
    """The receipt of what is staged already; None when that is damaged, so that it is replaced."""
    try:
        found = _load(attempt_id, folder)
    except StagedCorrupt:
        return None
    return found[0] if found is not None else None


def _load(attempt_id: str, folder: int) -> tuple[Receipt, bytes] | None:
    try:
        content = durable.read_file(attempt_id + STAGED, folder=folder)
    except FileNotFoundError:
        return staged_pairs.load(attempt_id, folder)
    line, _, data = content.partition(b"\n")
    return matched(decode(line, attempt_id=attempt_id), data)


def _read_receipt(attempt_id: str, folder: int) -> Receipt | None:
    """None when nothing is staged. Looks at the bytes' length, not at the bytes."""
    try:
        descriptor = durable.open_file(attempt_id + STAGED, folder=folder)
    except FileNotFoundError:
        return None
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            line = file.readline(_LONGEST_RECEIPT_BYTES)
        length = os.fstat(descriptor).st_size - len(line)
    finally:
        os.close(descriptor)
    receipt = decode(line, attempt_id=attempt_id)
    if length != receipt.length:
        raise StagedCorrupt(f"attempt `{attempt_id}`: {length} bytes are staged, not {receipt.length}")
    return receipt


_READERS = {STAGED: _read_receipt, staged_pairs.SIDECAR: staged_pairs.read_receipt}
"""Of what has a name that ends so, in the order in which they are read: what is staged as one file counts."""


def _outcome(asked: Receipt, kept: Receipt) -> Staged | StagedConflict:
    if kept.sha256 != asked.sha256:
        return StagedConflict(f"attempt `{asked.attempt_id}` is staged with other bytes")
    return Staged(receipt=kept)
