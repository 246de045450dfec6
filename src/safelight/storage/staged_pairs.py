"""Attempts as release 0.1 staged them: `{attempt_id}.bin`, the vendor's bytes, and `{attempt_id}.json`, their receipt.

The receipt, or *sidecar*, was written last and is removed first, so that it means that its bytes are there. Nothing is
staged like this any more; what lies in a folder is read and removed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from safelight.storage import durable
from safelight.storage.staging import BYTES, SIDECAR, Receipt, StagedCorrupt, decode, matched


def read_receipt(attempt_id: str, folder: int) -> Receipt | None:
    """None when nothing is staged. Looks at the bytes' length, not at the bytes. Raises StagedCorrupt."""
    try:
        receipt = decode(durable.read_file(attempt_id + SIDECAR, folder=folder), attempt_id=attempt_id)
    except FileNotFoundError:
        return None
    try:
        length = os.stat(attempt_id + BYTES, dir_fd=folder, follow_symlinks=False).st_size
    except FileNotFoundError:
        return _gone(attempt_id, folder)
    if length != receipt.length:
        raise StagedCorrupt(f"attempt `{attempt_id}`: {length} bytes are staged, not {receipt.length}")
    return receipt


def load(attempt_id: str, folder: int) -> tuple[Receipt, bytes] | None:
    """None when nothing complete is staged. Raises StagedCorrupt."""
    receipt = read_receipt(attempt_id, folder)
    if receipt is None:
        return None
    try:
        data = durable.read_file(attempt_id + BYTES, folder=folder)
    except FileNotFoundError:
        return _gone(attempt_id, folder)
    return matched(receipt, data)


def discard(attempt_id: str, folder: int) -> None:
    """Nothing is left. The sidecar goes first, and durably so: the other order could leave one that promises bytes
    which are gone. A crash in between leaves bytes that nothing lists."""
    if durable.removed(attempt_id + SIDECAR, folder=folder):
        durable.sync(folder)
    durable.removed(attempt_id + BYTES, folder=folder)


def incomplete(names: Sequence[str]) -> list[str]:
    """Bytes without a sidecar."""
    found = set(names)
    return [name for name in names if name.endswith(BYTES) and name.removesuffix(BYTES) + SIDECAR not in found]


def _gone(attempt_id: str, folder: int) -> None:
    """Bytes that went with their sidecar were discarded meanwhile; else the sidecar has lost them."""
    with suppress(FileNotFoundError):
        os.stat(attempt_id + SIDECAR, dir_fd=folder, follow_symlinks=False)
        raise StagedCorrupt(f"attempt `{attempt_id}`: the receipt is there, its bytes are not")
