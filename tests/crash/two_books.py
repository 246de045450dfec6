"""Our book and the vendor's, call by call: which request of the vendor's list was which attempt of ours."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from safelight.db.statements import load
from safelight.domain.ids import JobId
from safelight.sandbox.vendor import Call, Vendor
from tests.orders import attempts_of, images_of

_READ = load("read")

NOT_SENT = frozenset({"NOT_SENT", "CONNECT_FAILED"})
"""What an attempt ends with that has sent nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One attempt. `call` is what the vendor saw of it, if it saw anything, and `billed_microusd` what it charged."""

    image: str
    attempt: asyncpg.Record
    call: Call | None
    billed_microusd: int

    @property
    def is_known(self) -> bool:
        """Whether we say what it cost."""
        return self.attempt["status"] != "unknown" and self.attempt["cost_microusd"] is not None

    @property
    def booked_microusd(self) -> int:
        """For an unknown outcome the most that it may have cost."""
        if self.is_known:
            return self.attempt["cost_microusd"]
        return self.attempt["estimate_microusd"]

    def __str__(self) -> str:
        attempt = self.attempt
        ours = f"{attempt['status']} {attempt['error_code']} {attempt['cost_microusd']}"
        theirs = f"{self.call.outcome if self.call else 'not seen'} {self.billed_microusd}"
        return f"{self.image} #{attempt['number']}: {ours}, vendor: {theirs}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoBooks:
    """Everything that was bought for one job, in the order of images and attempts.

    `strays` are calls that no attempt accounts for; `fragments` are requests that their sender did not live to finish,
    so that the vendor never knew what was asked. `actual_microusd` and `uncertain_microusd` are what the API tells
    of the job. `budgets` are each image's `max_attempts` and `max_rebuys`.
    """

    entries: Sequence[Entry]
    strays: Sequence[Call]
    fragments: Sequence[Call]
    calls: int
    billed_microusd: int
    actual_microusd: int
    uncertain_microusd: int | None
    budgets: dict[str, tuple[int, int]] = field(repr=False)

    @property
    def known(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.is_known]

    @property
    def unknown(self) -> list[Entry]:
        return [entry for entry in self.entries if not entry.is_known]

    @property
    def rebuys(self) -> int:
        """Calls beyond the first of each image."""
        called = Counter(entry.image for entry in self.entries if entry.call is not None)
        return sum(calls - 1 for calls in called.values())

    def disagreements(self) -> list[str]:
        """Attempts of a known outcome whose cost is not what the vendor charged for exactly that call."""
        return [str(entry) for entry in self.known if entry.booked_microusd != entry.billed_microusd]

    def unseen(self) -> list[str]:
        """Attempts that we say were answered, and that the vendor has never seen."""
        return [
            str(entry) for entry in self.known if entry.call is None and entry.attempt["error_code"] not in NOT_SENT
        ]

    def bought_too_often(self) -> list[str]:
        """Images with more calls than the re-send rule allows for what became of them."""
        return [
            f"{image}: {[str(entry) for entry in entries]}"
            for image, entries in self._by_image().items()
            if sum(entry.call is not None for entry in entries) > _allowed(entries, *self.budgets[image])
        ]

    def bought_after_a_picture(self) -> list[str]:
        """Attempts that began though an earlier one of the image had its bytes."""
        late = []
        for entries in self._by_image().values():
            had = [entry.attempt["number"] for entry in entries if entry.attempt["status"] in ("received", "settled")]
            late += [str(entry) for entry in entries if had and entry.attempt["number"] > min(had)]
        return late

    def _by_image(self) -> dict[str, list[Entry]]:
        grouped: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            grouped[entry.image].append(entry)
        return grouped


async def compare(pool: asyncpg.Pool, job_id: JobId, vendor: Vendor) -> TwoBooks:
    """The vendor's side must have ended, and every prompt be one image's.

    An attempt's call is the one that arrived while it was the latest of its image: the next attempt begins when this
    one is answered, or can be answered no more. Both clocks are this machine's.
    """
    images, attempts = await images_of(pool, job_id), await attempts_of(pool, job_id)
    bill = {line["call"]: line["cost_microusd"] for line in vendor.bill.calls}
    unmatched = defaultdict(list)
    for call in vendor.calls:
        if call.prompt_sha256 is not None:
            unmatched[call.prompt_sha256].append(call)
    entries = []
    for image in images:
        calls = unmatched.pop(hashlib.sha256(image["prompt"].encode()).hexdigest(), [])
        mine = [attempt for attempt in attempts if attempt["image_row_id"] == image["row_id"]]
        ends = [following["sent_at"] for following in mine[1:]] + [None]
        for attempt, end in zip(mine, ends, strict=True):
            seen = [call for call in calls if attempt["sent_at"] <= call.at and (end is None or call.at < end)]
            call = seen[0] if seen else None
            if call is not None:
                calls.remove(call)
            billed = bill[call.number] if call is not None else 0
            entries.append(Entry(image=image["id"], attempt=attempt, call=call, billed_microusd=billed))
        unmatched[image["id"]] = calls
    [cost] = await pool.fetch(_READ.costs_of_jobs, [job_id])
    return TwoBooks(
        entries=entries,
        strays=[call for calls in unmatched.values() for call in calls],
        fragments=[call for call in vendor.calls if call.prompt_sha256 is None],
        calls=len(vendor.calls),
        billed_microusd=vendor.bill.total_microusd,
        actual_microusd=cost["actual_microusd"],
        uncertain_microusd=cost["uncertain_microusd"],
        budgets={image["id"]: (image["max_attempts"], image["max_rebuys"]) for image in images},
    )


def _allowed(entries: Sequence[Entry], max_attempts: int, max_rebuys: int) -> int:
    """The first call, those after answers that cost nothing, and as many more as the caller lets be paid for."""
    statuses = Counter(entry.attempt["status"] for entry in entries)
    refused = sum(entry.attempt["status"] == "refused" and entry.booked_microusd > 0 for entry in entries)
    paid_in_vain = min(statuses["no_image"] + refused, max_attempts - 1)
    return 1 + statuses["unbilled"] + paid_in_vain + min(statuses["unknown"], max_rebuys)
