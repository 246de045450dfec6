"""What the game knows of a case's pictures, and how that changes with what Safelight tells.

Every event has its place in its job, `seq`, and so has every look at the job. A record takes what is newer than what it
has, picture by picture: so it does not matter whether a message comes twice, late, or after a look that knew more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urljoin

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from .case import Case

State = Literal["pending", "generating", "completed", "partial", "failed", "canceled"]

KINDS = {"location": "locations", "suspect": "suspects", "evidence": "evidence"}
"""What an image is named by, and the part of the case that it belongs to."""

_IMAGE_ID = re.compile(r"(location|suspect|evidence)-(\d{1,3})", re.ASCII)
_JOB_STATES: Mapping[str, State] = {
    "job.started": "generating",
    "job.retried": "generating",
    "job.canceling": "generating",
    "job.completed": "completed",
    "job.partial": "partial",
    "job.failed": "failed",
    "job.canceled": "canceled",
}
_IMAGE_ENDS = frozenset({"completed", "failed", "refused", "uncertain", "canceled"})

EVENTS = (*_JOB_STATES, *(f"image.{end}" for end in sorted(_IMAGE_ENDS)))
"""What the game asks to be told."""


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Picture(_Model):
    """One image of the job. `state` is Safelight's word for how it ended, `waiting` until then."""

    state: str = "waiting"
    url: str | None = None
    message: str | None = None
    seq: int = 0


class Record(_Model):
    """`request` is what is ordered, and ordered again under the same `key` until `job_id` is known: word for word the
    same, whatever the program has become meanwhile. `problem` says why there is no job, and never will be. `is_sent`:
    it may have arrived; `is_unwanted`: it was canceled since, and its job is not known yet, or not told so yet."""

    key: str
    request: dict[str, Any]
    is_sent: bool = False
    is_unwanted: bool = False
    job_id: str | None = None
    state: State = "pending"
    seq: int = 0
    pictures: dict[str, Picture]
    problem: str | None = None
    started_at: datetime
    completed_at: datetime | None = None
    heard_at: datetime

    @property
    def has_ended(self) -> bool:
        return self.state not in ("pending", "generating")

    @property
    def is_settled(self) -> bool:
        """Nothing more is to be heard: it ended, and what became of each picture is known."""
        return self.has_ended and (
            self.problem is not None or all(each.state != "waiting" for each in self.pictures.values())
        )


def after_event(record: Record, event: Mapping[str, Any], *, base_url: str) -> Record:
    """The record, once it has heard the event; as it was, when it knew that already."""
    kind, data = str(event["type"]), event["data"]
    seq = data.get("seq")
    if not isinstance(seq, int):
        return record
    if kind in _JOB_STATES:
        listed = data.get("images") if kind == "job.retried" else None
        again = {str(name): Picture(seq=seq) for name in (listed if isinstance(listed, list) else ())}
        return _with_state(_with_pictures(record, again), _JOB_STATES[kind], seq=seq, at=event["timestamp"])
    subject, _, end = kind.partition(".")
    if subject != "image" or end not in _IMAGE_ENDS:
        return record
    error = data.get("error") or {}
    url = _absolute(data.get("image_url"), base_url)
    picture = Picture(state=end, url=url, message=error.get("message"), seq=seq)
    return _with_pictures(record, {str(data.get("image_id")): picture})


def after_look(record: Record, job: Mapping[str, Any], *, base_url: str) -> Record:
    """The record, once it has seen the job as Safelight shows it."""
    seq: int = job["seq"]
    seen = {each["id"]: _picture(each, seq=seq, base_url=base_url) for each in job["images"]}
    status = job["status"]
    state: State = status if status in ("completed", "partial", "failed", "canceled") else "generating"
    at = job["completed_at"] or job["created_at"]
    return _with_state(_with_pictures(record, seen), state, seq=seq, at=at)


def with_pictures_of(case: dict[str, Any], record: Record) -> dict[str, Any]:
    """The case, with the address of every picture that there is where it belongs."""
    parts = {part: [dict(each) for each in case[part]] for part in KINDS.values()}
    for part, index, picture in _placed(parts, record):
        if picture.url is not None:
            parts[part][index]["profileImageUrl" if part == "suspects" else "imageUrl"] = picture.url
    return {**case, **parts}


def status_of(case: Case, record: Record) -> dict[str, Any]:
    """What a player's page polls."""
    parts = {"locations": case.locations, "suspects": case.suspects, "evidence": case.evidence}
    images: dict[str, list[str | None]] = {part: [None] * len(entries) for part, entries in parts.items()}
    errors: list[dict[str, Any]] = []
    for part, index, picture in _placed(images, record):
        images[part][index] = picture.url
        if picture.state not in ("waiting", "completed"):
            kind = next(kind for kind, of in KINDS.items() if of == part)
            errors.append({"type": kind, "index": index, "message": picture.message or picture.state})
    if record.problem is not None:
        errors.append({"type": "case", "index": 0, "message": record.problem})
    drawn = sum(url is not None for urls in images.values() for url in urls)
    return {
        "status": record.state,
        "progress": {"current": drawn, "total": len(record.pictures)},
        "images": images,
        "startedAt": record.started_at.isoformat(),
        "completedAt": record.completed_at.isoformat() if record.completed_at else None,
        "errors": errors,
    }


def _picture(image: Mapping[str, Any], *, seq: int, base_url: str) -> Picture:
    if image["status"] not in _IMAGE_ENDS:
        return Picture(seq=seq)
    url, error = _absolute(image.get("url"), base_url), image.get("error") or {}
    return Picture(state=image["status"], url=url, message=error.get("message"), seq=seq)


def _absolute(url: str | None, base_url: str) -> str | None:
    return urljoin(f"{base_url}/", url) if url else None


def _with_pictures(record: Record, told: Mapping[str, Picture]) -> Record:
    """Only of images that the record has, and only what is newer."""
    newer = {name: each for name, each in told.items() if (old := record.pictures.get(name)) and each.seq > old.seq}
    return record.model_copy(update={"pictures": record.pictures | newer})


def _with_state(record: Record, state: State, *, seq: int, at: str) -> Record:
    if seq <= record.seq:
        return record
    ended = datetime.fromisoformat(at).astimezone(UTC) if state not in ("pending", "generating") else None
    return record.model_copy(update={"state": state, "seq": seq, "completed_at": ended})


def _placed(parts: Mapping[str, list[Any]], record: Record) -> Iterator[tuple[str, int, Picture]]:
    """Each picture whose name leads to an entry that exists, with the part and the place of that."""
    for name, picture in record.pictures.items():
        if found := _IMAGE_ID.fullmatch(name):
            part, index = KINDS[found[1]], int(found[2])
            if index < len(parts[part]):
                yield part, index, picture
