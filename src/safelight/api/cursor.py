"""Opaque positions in a list that is read page by page.

A cursor is bound to its account and its filters, and carries a digest: one that was cut, edited or taken from
another list is refused rather than answered with a wrong page. It is no secret: whoever forges one sees only
what is theirs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass

from safelight.api.edge.strict_json import why_bad
from safelight.api.history.filters import History
from safelight.domain.errors import SafelightError
from safelight.domain.ids import JobId, is_job_id

_DIGEST_BYTES = 9
_TAG_BYTES = 6
_POSITION = struct.Struct(">QQ")


def cursor_after(job_id: JobId, history: History) -> str:
    return _encoded(job_id.encode(), b"jobs\0" + history.identity())


def job_before(cursor: str, history: History) -> JobId:
    """The last job of the page before. Raises SafelightError (`invalid-cursor`)."""
    job_id = _decoded(cursor, b"jobs\0" + history.identity()).decode("ascii", "replace")
    if not is_job_id(job_id):
        raise _foreign()
    return JobId(job_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePosition:
    """An image in a list that has those of the newest job first."""

    job_id: str
    position: int


def image_cursor(last: ImagePosition, history: History) -> str:
    return _encoded(f"{last.job_id} {last.position}".encode(), b"images\0" + history.identity())


def image_before(cursor: str, history: History) -> ImagePosition:
    """The last image of the page before. Raises SafelightError (`invalid-cursor`)."""
    job_id, _, position = _decoded(cursor, b"images\0" + history.identity()).decode("ascii", "replace").partition(" ")
    if not is_job_id(job_id) or not re.fullmatch(r"[0-9]{1,9}", position, re.ASCII):
        raise _foreign()
    return ImagePosition(job_id=job_id, position=int(position))


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedPosition:
    """The last event that was read. A notice has no job; its id stands for `seq`."""

    xact: int
    job_id: str
    seq: int


def feed_cursor(position: FeedPosition, *, account: str, numbering: str) -> str:
    """`numbering` names what the position's numbers count in."""
    numbers = _POSITION.pack(position.xact, position.seq)
    return _encoded(_tag(numbering) + numbers + position.job_id.encode(), _feed_of(account))


def feed_position(cursor: str, *, account: str, numbering: str) -> FeedPosition:
    """Raises SafelightError (`invalid-cursor`), and says so when it is only the numbering that has changed."""
    raw = _decoded(cursor, _feed_of(account))
    if len(raw) < _TAG_BYTES + _POSITION.size:
        raise _foreign()
    if raw[:_TAG_BYTES] != _tag(numbering):
        raise numbered_anew()
    xact, seq = _POSITION.unpack_from(raw, _TAG_BYTES)
    job_id = raw[_TAG_BYTES + _POSITION.size :].decode("ascii", "replace")
    if seq >= 2**63 or (job_id and not is_job_id(job_id)):
        raise _foreign()
    return FeedPosition(xact=xact, job_id=job_id, seq=seq)


def numbered_anew() -> SafelightError:
    return SafelightError(
        "The database was restored since this cursor was given, and what comes after it is not known. "
        "Start again without one.",
        slug="invalid-cursor",
    )


def page_cursor(position: str, *of_list: str) -> str:
    """`of_list` names the list, its account and its filters."""
    return _encoded(position.encode(), "\0".join(of_list).encode())


def page_position(cursor: str, *of_list: str) -> str:
    """Raises SafelightError (`invalid-cursor`)."""
    position = _decoded(cursor, "\0".join(of_list).encode()).decode("utf-8", "replace")
    if why_bad(position) is not None:
        raise _foreign()
    return position


def page_number(cursor: str, *of_list: str) -> int:
    """The position of a list that counts. Raises SafelightError (`invalid-cursor`)."""
    position = page_position(cursor, *of_list)
    if not re.fullmatch(r"[0-9]{1,18}", position, re.ASCII):
        raise _foreign()
    return int(position)


def _encoded(position: bytes, of_list: bytes) -> str:
    return base64.urlsafe_b64encode(_digest(position, of_list) + position).decode().rstrip("=")


def _decoded(cursor: str, of_list: bytes) -> bytes:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    digest, position = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if digest != _digest(position, of_list):
        raise _foreign()
    return position


def _digest(position: bytes, of_list: bytes) -> bytes:
    return hashlib.sha256(of_list + b"\0" + position).digest()[:_DIGEST_BYTES]


def _feed_of(account: str) -> bytes:
    return b"events\0" + account.encode()


def _tag(numbering: str) -> bytes:
    return hashlib.sha256(numbering.encode()).digest()[:_TAG_BYTES]


def _foreign() -> SafelightError:
    return SafelightError("The cursor does not belong to this list.", slug="invalid-cursor")
