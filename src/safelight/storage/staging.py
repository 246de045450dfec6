"""Paid bytes, made durable before anything else touches them.

A staged attempt is two files: `{attempt_id}.bin`, the vendor's bytes, and `{attempt_id}.json`, its receipt or
*sidecar*. That one is written last and removed first, so that wherever a crash falls, a sidecar means that
its bytes are there. With it a restart can adopt a paid picture although the database never heard of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from safelight.domain.money import Cost, CostBasis
from safelight.storage import durable

_log = logging.getLogger(__name__)

_ATTEMPT_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_BYTES, _SIDECAR = ".bin", ".json"
MARKER = ".safelight-staging"
"""The file that tells this folder from every other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was bought: enough to write the attempt's row again, money included. `received_at` is ISO 8601,
    `fingerprint` that of the request."""

    attempt_id: str
    image_row_id: int
    job_id: str
    sha256: str
    length: int
    claimed_mime: str
    cost_microusd: int | None
    cost_basis: CostBasis
    price_ref: str | None
    usage: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None
    model_version: str | None
    received_at: str
    fingerprint: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "cost_basis", CostBasis(self.cost_basis))
        _ = self.cost  # an amount without a basis, or the other way round, is no receipt

    @property
    def cost(self) -> Cost:
        return Cost(self.cost_microusd, self.cost_basis, self.price_ref)


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A receipt that is durable, and the file that holds its bytes."""

    receipt: Receipt
    path: Path


class StagedCorrupt(Exception):
    """What is staged for an attempt is not what its receipt says, or the receipt cannot be read."""


class StagedConflict(Exception):
    """The attempt is staged already, with other bytes; they stay."""


class Staging:
    """The folder of staged attempts. `root` is created when it is missing, private to us.

    Every method but `free_bytes` works in a thread; cancelling the caller does not stop a write under way.
    """

    def __init__(self, root: Path) -> None:
        durable.make_folder(root)
        self._root = root

    async def stage(self, receipt: Receipt, data: bytes) -> Staged:
        """Afterwards bytes and receipt survive a power cut.

        Staging the same bytes again changes nothing and returns the first receipt. Raises StagedConflict,
        OSError, and ValueError when the receipt does not describe the bytes.
        """
        return await asyncio.to_thread(self._stage, _checked(receipt.attempt_id), receipt, data)

    async def pending(self) -> list[Receipt]:
        """Every complete staged attempt, oldest first. Corrupt ones are logged by name and left out."""
        receipts, corrupt = await asyncio.to_thread(self._scan)
        if corrupt:
            _log.warning("staged attempts that cannot be read: %s", ", ".join(corrupt))
        return receipts

    async def corrupt(self) -> list[str]:
        """Names of the sidecars that `pending` leaves out."""
        _, corrupt = await asyncio.to_thread(self._scan)
        return corrupt

    async def load(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        """None when nothing complete is staged. Raises StagedCorrupt."""
        return await asyncio.to_thread(self._load, _checked(attempt_id))

    async def discard(self, attempt_id: str) -> None:
        """Afterwards nothing is staged for the attempt, whether or not there was.

        The sidecar goes first, and durably so, before the bytes do: the other order could leave a sidecar
        that promises bytes which are gone. A crash in between leaves bytes that nothing lists.
        """
        await asyncio.to_thread(self._discard, _checked(attempt_id))

    async def remove_incomplete(self, *, older_than_seconds: float) -> int:
        """Deletes parts, and bytes without a sidecar, of writers that died; returns how many files that was.

        Choose an age that no write reaches.
        """
        return await asyncio.to_thread(self._remove_incomplete, older_than_seconds)

    async def ensure_marker(self) -> str:
        """The id of this folder: workers that do not share it would not find each other's paid pictures."""
        return await asyncio.to_thread(durable.ensure_marker, self._root, MARKER)

    def free_bytes(self) -> int:
        """What the file system still has room for."""
        return shutil.disk_usage(self._root).free

    def _stage(self, attempt_id: str, receipt: Receipt, data: bytes) -> Staged:
        if receipt.length != len(data) or receipt.sha256 != hashlib.sha256(data).hexdigest():
            raise ValueError(f"attempt `{attempt_id}`: the receipt does not describe these bytes")
        path = self._root / (attempt_id + _BYTES)
        earlier = None
        with suppress(StagedCorrupt):  # then this copy replaces it
            earlier = self._load(attempt_id)
        with self._opened() as folder:
            if earlier is not None:
                if earlier[0].sha256 != receipt.sha256:
                    raise StagedConflict(f"attempt `{attempt_id}` is staged with other bytes")
                durable.sync(folder)  # its writer may not have come that far
                return Staged(receipt=earlier[0], path=path)
            _place(data, attempt_id + _BYTES, folder=folder)
            _place(_encode(receipt), attempt_id + _SIDECAR, folder=folder)
        return Staged(receipt=receipt, path=path)

    def _scan(self) -> tuple[list[Receipt], list[str]]:
        receipts: list[Receipt] = []
        corrupt: list[str] = []
        with self._opened() as folder:
            for name in durable.list_names(folder):
                if not name.endswith(_SIDECAR):
                    continue
                try:
                    receipt = self._read_receipt(name.removesuffix(_SIDECAR), folder)
                    if receipt is not None:
                        receipts.append(receipt)
                except (StagedCorrupt, OSError):  # one bad file does not hide the others
                    corrupt.append(name)
        return sorted(receipts, key=lambda receipt: (receipt.received_at, receipt.attempt_id)), corrupt

    def _load(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        with self._opened() as folder:
            receipt = self._read_receipt(attempt_id, folder)
            if receipt is None:
                return None
            try:
                data = durable.read_file(attempt_id + _BYTES, folder=folder)
            except FileNotFoundError:
                return self._gone(attempt_id, folder)
        if hashlib.sha256(data).hexdigest() != receipt.sha256:
            raise StagedCorrupt(f"attempt `{attempt_id}`: the staged bytes do not match their receipt")
        return receipt, data

    def _read_receipt(self, attempt_id: str, folder: int) -> Receipt | None:
        """None when nothing is staged. Looks at the bytes' length, not at the bytes."""
        try:
            receipt = _decode(durable.read_file(attempt_id + _SIDECAR, folder=folder))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise StagedCorrupt(f"attempt `{attempt_id}`: the receipt cannot be read") from error
        if receipt.attempt_id != attempt_id:
            raise StagedCorrupt(f"attempt `{attempt_id}`: the receipt is that of `{receipt.attempt_id}`")
        try:
            length = os.stat(attempt_id + _BYTES, dir_fd=folder, follow_symlinks=False).st_size
        except FileNotFoundError:
            return self._gone(attempt_id, folder)
        if length != receipt.length:
            raise StagedCorrupt(f"attempt `{attempt_id}`: {length} bytes are staged, not {receipt.length}")
        return receipt

    def _gone(self, attempt_id: str, folder: int) -> None:
        """Bytes that went with their sidecar were discarded meanwhile; else the sidecar has lost them."""
        with suppress(FileNotFoundError):
            os.stat(attempt_id + _SIDECAR, dir_fd=folder, follow_symlinks=False)
            raise StagedCorrupt(f"attempt `{attempt_id}`: the receipt is there, its bytes are not")

    def _discard(self, attempt_id: str) -> None:
        with self._opened() as folder:
            with suppress(FileNotFoundError):
                os.unlink(attempt_id + _SIDECAR, dir_fd=folder)
                durable.sync(folder)
            with suppress(FileNotFoundError):
                os.unlink(attempt_id + _BYTES, dir_fd=folder)

    def _remove_incomplete(self, older_than_seconds: float) -> int:
        with self._opened() as folder:
            names = set(durable.list_names(folder))
            incomplete = [
                name
                for name in sorted(names)
                if name.endswith(durable.PART_SUFFIX)
                or (name.endswith(_BYTES) and name.removesuffix(_BYTES) + _SIDECAR not in names)
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


def _encode(receipt: Receipt) -> bytes:
    return json.dumps({"version": 1, **asdict(receipt)}, allow_nan=False).encode()


def _decode(sidecar: bytes) -> Receipt:
    """Names that a later version may add are passed over."""
    content = json.loads(sidecar)
    return Receipt(**{one.name: content[one.name] for one in fields(Receipt)})


def _checked(attempt_id: str) -> str:
    if not _ATTEMPT_ID.fullmatch(attempt_id):
        raise ValueError(f"{attempt_id[:80]!r} is not an attempt id: 1..200 of A-Z a-z 0-9 _ -")
    return attempt_id
