"""A job as a contact sheet: a frame for each of its images, in their order, and a head that says how it stands."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from safelight.domain.lifecycle import (
    LIVE_IMAGE_STATUSES,
    RETRYABLE_IMAGE_STATUSES,
    TERMINAL_IMAGE_STATUSES,
    TERMINAL_JOB_STATUSES,
    ImageStatus,
    JobStatus,
)

SMALL_OUTPUTS = ("thumbnail", "thumb")
"""What an output may be called that is to be shown before the first."""

_NARROWEST = 1 / 3
_SIDES = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)[:x](\d{1,5}(?:\.\d{1,3})?)", re.ASCII)
_SQUARE = (1.0, 1.0)
_WORDS = {
    ImageStatus.QUEUED: "queued",
    ImageStatus.PROCESSING: "starting",
    ImageStatus.GENERATING: "generating",
    ImageStatus.UPLOADING: "storing",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """As it is shown on the sheet; `width` and `height` in pixels."""

    url: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """`number` counts from 1 in the job. `sides` is the shape that the picture has or will have; `is_in_line` that it
    waits for its turn, and not for `waits_for`, other images' pictures. `since` is when its first call was made."""

    number: int
    id: str
    group: str
    status: ImageStatus
    word: str
    sides: tuple[float, float]
    picture: Picture | None
    error: Mapping[str, Any] | None
    waits_for: tuple[str, ...]
    is_in_line: bool
    since: str | None
    attempt_count: int

    @property
    def element_id(self) -> str:
        return f"frame-{self.number}"

    @property
    def is_live(self) -> bool:
        return self.status not in TERMINAL_IMAGE_STATUSES

    @property
    def is_held(self) -> bool:
        """A worker has it."""
        return self.status in LIVE_IMAGE_STATUSES

    @property
    def may_be_retried(self) -> bool:
        return self.status in RETRYABLE_IMAGE_STATUSES


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """`job` is as the API shows it. `first_place`, from 1, is that of the first frame that waits for its turn, and the
    others follow; None: not known."""

    job: Mapping[str, Any]
    frames: Sequence[Frame]
    first_place: int | None

    @property
    def has_ended(self) -> bool:
        return self.job["status"] in TERMINAL_JOB_STATUSES

    @property
    def groups(self) -> Mapping[str, list[Frame]]:
        """In the order of their first frames."""
        found: dict[str, list[Frame]] = {}
        for frame in self.frames:
            found.setdefault(frame.group, []).append(frame)
        return found

    @property
    def without_picture(self) -> int:
        """Frames that ended and may be tried again."""
        return sum(frame.may_be_retried for frame in self.frames)

    @property
    def may_be_canceled(self) -> bool:
        return not self.has_ended and self.job["status"] != JobStatus.CANCELING

    @property
    def may_be_retried(self) -> bool:
        return not self.job["data_removed"] and self.job["status"] != JobStatus.CANCELING and self.without_picture > 0

    @property
    def said(self) -> str:
        """For ears: how it stands, in one sentence."""
        counts = self.job["counts"]
        told = [f"{counts[each]} {each}" for each in ("failed", "refused", "canceled", "uncertain") if counts[each]]
        return ", ".join([f"{counts['completed']} of {counts['total']} completed", *told]) + "."

    def places(self) -> Mapping[int, int]:
        """The place in line of frames by their numbers, as far as it is known."""
        if self.first_place is None:
            return {}
        in_line = [frame.number for frame in self.frames if frame.is_in_line]
        return {number: self.first_place + n for n, number in enumerate(in_line)}

    def named(self, ids: Collection[str]) -> list[Frame]:
        return [frame for frame in self.frames if frame.id in ids]


def sheet_of(job: Mapping[str, Any]) -> Sheet:
    """From the API's answer."""
    has_picture = {image["id"] for image in job["images"] if image["status"] == ImageStatus.COMPLETED}
    frames = [_frame(n, image, job, has_picture) for n, image in enumerate(job["images"], 1)]
    in_line = {image["provider"] for image, frame in zip(job["images"], frames, strict=True) if frame.is_in_line}
    return Sheet(job=job, frames=frames, first_place=job["queue_position"] if len(in_line) == 1 else None)


def seconds_between(start: str, end: str) -> float:
    """Never below zero, whatever the clocks of two machines say."""
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


def picture_path(output: str, job_id: str, image_id: str) -> str:
    """The plain address, which whoever is signed in may open: it stays the same, so a browser keeps the picture."""
    return f"/v1/jobs/{job_id}/images/{quote(image_id, safe='')}/{quote(output, safe='')}"


def _frame(number: int, image: Mapping[str, Any], job: Mapping[str, Any], has_picture: Collection[str]) -> Frame:
    status = ImageStatus(image["status"])
    needs = [each["image"] for each in image.get("references", ()) if "image" in each]
    waits_for = tuple(each for each in needs if each not in has_picture) if status is ImageStatus.QUEUED else ()
    picture = _picture(image, job)
    return Frame(
        number=number,
        id=image["id"],
        group=image["group"],
        status=status,
        word=_WORDS.get(status, status.value),
        sides=(picture.width, picture.height) if picture is not None else _sides(image, job["outputs"]),
        picture=picture,
        error=image.get("error"),
        waits_for=waits_for,
        is_in_line=status is ImageStatus.QUEUED and not waits_for,
        since=image["started_at"] if status in LIVE_IMAGE_STATUSES else None,
        attempt_count=image["attempt_count"],
    )


def _picture(image: Mapping[str, Any], job: Mapping[str, Any]) -> Picture | None:
    outputs = image.get("outputs")
    if not outputs:
        return None
    name = next((each for each in SMALL_OUTPUTS if each in outputs), next(iter(outputs)))
    return Picture(
        url=picture_path(name, job["id"], image["id"]), width=outputs[name]["width"], height=outputs[name]["height"]
    )


def _sides(image: Mapping[str, Any], outputs: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The shape that a picture will have, as far as it was ordered: that of a box that it fills, else its own."""
    by_name = {each["name"]: each for each in outputs}
    shown = next((by_name[each] for each in SMALL_OUTPUTS if each in by_name), outputs[0] if outputs else {})
    if shown.get("fit") in ("cover", "contain"):
        return _kept_seemly(shown["width"], shown["height"])
    found = _SIDES.fullmatch(image.get("aspect_ratio") or image.get("size") or "")
    return _kept_seemly(float(found[1]), float(found[2])) if found is not None else _SQUARE


def _kept_seemly(width: float, height: float) -> tuple[float, float]:
    """A frame is no stripe."""
    if width <= 0 or height <= 0:
        return _SQUARE
    return max(width, height * _NARROWEST), max(height, width * _NARROWEST)
