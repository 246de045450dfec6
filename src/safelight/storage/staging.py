"""Paid bytes, made durable before anything else touches them.

A staged attempt is two things: `{attempt_id}.bin`, the vendor's bytes, and `{attempt_id}.json`, its receipt or
*sidecar*. That one is written last and removed first, so that wherever a crash falls, a sidecar means that
its bytes are there. With it a restart can adopt a paid picture although the database never heard of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from safelight.domain.money import Cost, CostBasis

BYTES, SIDECAR = ".bin", ".json"

_ATTEMPT_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


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
    """A receipt that is durable, with its bytes. `only_in`: the folder of this host that alone holds them; None where
    every worker finds them."""

    receipt: Receipt
    only_in: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtBack:
    """What lay on this host only: attempts that every worker finds now, and the receipts of those that still do not
    leave the folder `here`."""

    moved: tuple[str, ...] = ()
    stranded: tuple[Receipt, ...] = ()
    here: str = ""


class StagedCorrupt(Exception):
    """What is staged for an attempt is not what its receipt says, or the receipt cannot be read."""


class StagedConflict(Exception):
    """The attempt is staged already, with other bytes; they stay."""


class Staging(Protocol):
    """Where attempts are staged. Every method raises OSError when that place fails, and ValueError for what is no
    attempt id. Cancelling the caller does not stop a write under way."""

    async def stage(self, receipt: Receipt, data: bytes) -> Staged:
        """Afterwards bytes and receipt survive a power cut.

        Staging the same bytes again changes nothing and returns the first receipt. Raises StagedConflict, and
        ValueError when the receipt does not describe the bytes.
        """
        ...

    async def pending(self) -> list[Receipt]:
        """Every complete staged attempt, oldest first, but for those that lie on one host only. Corrupt ones are logged
        by name and left out."""
        ...

    async def corrupt(self) -> list[str]:
        """Names of the sidecars that `pending` leaves out."""
        ...

    async def load(self, attempt_id: str) -> tuple[Receipt, bytes] | None:
        """None when nothing complete is staged that can be found from here. Raises StagedCorrupt."""
        ...

    async def discard(self, attempt_id: str) -> None:
        """Afterwards nothing is staged for the attempt, whether or not there was.

        The sidecar goes first, and durably so, before the bytes do: the other order could leave a sidecar
        that promises bytes which are gone. A crash in between leaves bytes that nothing lists.
        """
        ...

    async def remove_incomplete(self, *, older_than_seconds: float) -> int:
        """Deletes parts, and bytes without a sidecar, of writers that died; returns how many files that was.

        Choose an age that no write reaches.
        """
        ...

    async def bring_back(self) -> BroughtBack:
        """What could be staged on this host only has gone where every worker finds it, as far as it can now."""
        ...

    async def ensure_marker(self) -> str:
        """The id of this place: workers that do not share it would not find each other's paid pictures."""
        ...

    async def probe(self) -> None:
        """Raises OSError when nothing could be staged now."""
        ...

    def free_bytes(self) -> int | None:
        """What there is room for; None where that is not for us to say."""
        ...


def checked(receipt: Receipt, data: bytes) -> str:
    """The attempt's id. Raises ValueError when the receipt does not describe the bytes."""
    attempt_id = checked_id(receipt.attempt_id)
    if receipt.length != len(data) or receipt.sha256 != hashlib.sha256(data).hexdigest():
        raise ValueError(f"attempt `{attempt_id}`: the receipt does not describe these bytes")
    return attempt_id


def checked_id(attempt_id: str) -> str:
    if not _ATTEMPT_ID.fullmatch(attempt_id):
        raise ValueError(f"{attempt_id[:80]!r} is not an attempt id: 1..200 of A-Z a-z 0-9 _ -")
    return attempt_id


def encode(receipt: Receipt) -> bytes:
    return json.dumps({"version": 1, **asdict(receipt)}, allow_nan=False).encode()


def decode(sidecar: bytes, *, attempt_id: str) -> Receipt:
    """Names that a later version may add are passed over. Raises StagedCorrupt."""
    try:
        content = json.loads(sidecar)
        receipt = Receipt(**{one.name: content[one.name] for one in fields(Receipt)})
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise StagedCorrupt(f"attempt `{attempt_id}`: the receipt cannot be read") from error
    if receipt.attempt_id != attempt_id:
        raise StagedCorrupt(f"attempt `{attempt_id}`: the receipt is that of `{receipt.attempt_id}`")
    return receipt


def matched(receipt: Receipt, data: bytes) -> tuple[Receipt, bytes]:
    """Raises StagedCorrupt when the bytes are not those of the receipt."""
    if hashlib.sha256(data).hexdigest() != receipt.sha256:
        raise StagedCorrupt(f"attempt `{receipt.attempt_id}`: the staged bytes do not match their receipt")
    return receipt, data


def by_age(receipts: list[Receipt]) -> list[Receipt]:
    """Oldest first."""
    return sorted(receipts, key=lambda receipt: (receipt.received_at, receipt.attempt_id))
