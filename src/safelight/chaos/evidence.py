"""What is known of a run from outside: a folder with one file of JSON lines for each kind of fact.

Each dataclass below is a line of the file that `FILES` names for it. A file that is not there was not collected, and
what depends on it is not judged; an empty file says that there was nothing. `bill.jsonl` is as the sandbox writes it.
"""

from __future__ import annotations

import hashlib
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import httpx2
import orjson

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One submit of the client's, each time that it was sent. `status` None: no answer came. `images` are the ids that
    it asks for, and `prompts_sha256` theirs, in the same order; empty where nobody noted them. `is_told`: it named an
    address that wants to hear of every event."""

    at: datetime
    key: str | None
    status: int | None
    job_id: str | None = None
    images: tuple[str, ...] = ()
    prompts_sha256: tuple[str, ...] = ()
    is_told: bool = False

    @property
    def is_accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """What the client has paid into an account, or below 0 taken back, as the API has confirmed it."""

    at: datetime
    account: str
    currency: str
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A line of the vendor's bill. `prompt_sha256` None: it never heard what was asked. `pictures_sha256`: of the files
    that it made; empty where it made or noted none."""

    call: int
    vendor: str
    model: str
    prompt_sha256: str | None
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    cost_microusd: int
    pictures_sha256: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """What the store holds, told from the bytes: `mime` is what they decode to, None when they do not."""

    key: str
    length: int
    sha256: str
    mime: str | None
    put_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the API gave for a picture; `status` None: no answer."""

    job_id: str
    image_id: str
    status: int | None
    length: int = 0
    sha256: str = ""
    content_type: str = ""

    @classmethod
    def as_answered(cls, job_id: str, image_id: str, answer: httpx2.Response) -> Served:
        return cls(
            job_id=job_id,
            image_id=image_id,
            status=answer.status_code,
            length=len(answer.content),
            sha256=hashlib.sha256(answer.content).hexdigest(),
            content_type=answer.headers.get("content-type", ""),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """A webhook as its receiver had it, in the order of arrival. `seq` None: no event of a log, such as a progress.
    `answered` is the status that it sent; None where it hung, or hung up. Of what is not `is_verified`, for nobody who
    knows the secret has signed it, only the id is known."""

    at: datetime
    message_id: str
    endpoint: str
    type: str
    job_id: str | None
    seq: int | None
    answered: int | None
    image_id: str | None = None
    is_verified: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A look from outside at the staging: the picture of this attempt lay there."""

    at: datetime
    attempt_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`outputs` are the names of the pictures that each of its images has; empty where nobody noted them."""

    id: str
    account: str
    idempotency_key: str | None
    status: str
    run: int
    seq: int
    is_removed: bool = False
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """`prompts_sha256` are all that a call may have been made with: its own, and the alternate or original one."""

    row_id: int
    job_id: str
    id: str
    status: str
    run: int
    prompts_sha256: tuple[str, ...]
    max_attempts: int
    max_rebuys: int
    on_uncertain: str
    on_refusal: str = "stop"
    is_claimed: bool = False
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """`resolve_at`: when it could answer no more; `has_handle`: it became a job of the vendor's; `sha256`: of the file
    that it brought, as it came."""

    id: str
    image_row_id: int
    number: int
    run: int
    status: str
    fingerprint: str
    sent_at: datetime
    resolve_at: datetime
    ended_at: datetime | None
    has_handle: bool
    estimate_microusd: int | None
    cost_microusd: int | None
    error_code: str | None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`is_late`: a picture came after its image had ended without one, and opened it again."""

    job_id: str
    seq: int
    type: str
    image_id: str | None
    at: datetime
    is_late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A webhook as our books have it."""

    message_id: str
    endpoint_id: str
    type: str
    job_id: str | None
    seq: int | None
    status: str
    attempt_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendition:
    """What is stored, and should be. `row_id` None: an upload's, not an image's. `is_internal`: never served."""

    row_id: int | None
    name: str
    key: str
    mime: str
    length: int
    sha256: str
    is_internal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    id: int
    account: str
    currency: str
    job_id: str
    image_row_id: int
    run: int
    amount: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One transfer of the ledger."""

    id: int
    account: str
    currency: str
    kind: str
    debit: str
    credit: str
    amount: int
    available_after: int
    held_after: int
    hold_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    account: str
    currency: str
    available: int
    held: int
    captured: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    id: int
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything of one run. None: nobody looked. The books of jobs, images, attempts and events are always there."""

    jobs: Sequence[Job]
    images: Sequence[Image]
    attempts: Sequence[Attempt]
    events: Sequence[Event]
    submissions: Sequence[Submission] | None = None
    payments: Sequence[Payment] | None = None
    bill: Sequence[Call] | None = None
    objects: Sequence[StoredObject] | None = None
    served: Sequence[Served] | None = None
    receptions: Sequence[Reception] | None = None
    sightings: Sequence[Sighting] | None = None
    messages: Sequence[Message] | None = None
    renditions: Sequence[Rendition] | None = None
    holds: Sequence[Hold] | None = None
    ledger: Sequence[Entry] | None = None
    balances: Sequence[Balance] | None = None
    queue: Sequence[QueueRow] | None = None


FILES: Mapping[str, type[Any]] = {
    "jobs": Job,
    "images": Image,
    "attempts": Attempt,
    "events": Event,
    "submissions": Submission,
    "payments": Payment,
    "bill": Call,
    "objects": StoredObject,
    "served": Served,
    "receptions": Reception,
    "sightings": Sighting,
    "messages": Message,
    "renditions": Rendition,
    "holds": Hold,
    "ledger": Entry,
    "balances": Balance,
    "queue": QueueRow,
}
"""The field of `Evidence`, which is the file's name without `.jsonl`, and what its lines are."""


class NoEvidence(Exception):
    """The folder does not hold what a judgement needs; the message says what."""


def read(folder: Path) -> Evidence:
    """Raises NoEvidence when a book is missing or a line is none of ours."""
    found: dict[str, Any] = {}
    for name, kind in FILES.items():
        path = folder / f"{name}.jsonl"
        if path.exists():
            found[name] = read_lines(path, kind)
        elif name in ("jobs", "images", "attempts", "events"):
            raise NoEvidence(f"`{path}` is missing")
    return Evidence(**found)


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """Half a line at the end, of a writer that was killed, counts for nothing. Raises NoEvidence."""
    content = path.read_bytes()
    found = []
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            found.append(_value(kind, orjson.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise NoEvidence(f"`{path}` line {number} is no {kind.__name__}: {error}") from error
    return found


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """The file holds these and nothing else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for row in rows:
            file.write(line(row))


def line(row: Any) -> bytes:
    """One line, as `read_lines` reads it."""
    return orjson.dumps({field.name: getattr(row, field.name) for field in fields(row)}) + b"\n"


def write(folder: Path, evidence: Evidence) -> None:
    """What was not collected is no file."""
    for name in FILES:
        rows = getattr(evidence, name)
        if rows is not None:
            write_lines(folder / f"{name}.jsonl", rows)


def _value(kind: type[T], found: Any) -> T:
    if not isinstance(found, Mapping):
        raise TypeError("no object")
    # What a later version writes besides is left alone.
    hints = _hints(kind)
    return kind(**{name: _converted(hints[name], value) for name, value in found.items() if name in hints})


def _converted(hint: Any, value: Any) -> Any:
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        [hint] = [each for each in get_args(hint) if each is not type(None)]
    if hint is datetime:
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if get_origin(hint) is tuple:
        return tuple(value)
    if not isinstance(value, hint):
        raise TypeError(f"{value!r} is no {hint.__name__}")
    return value


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)
