"""Names of blobs: `[account/]{prefix}/{group}/{image_id}.{output}-{row id}{sha256}.{extension}`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_SEGMENT = re.compile(r"[A-Za-z0-9._-]{1,255}")
_NAME = re.compile(r".+\..+-([0-9a-f]{8,16})[0-9a-f]{8}\.[a-z0-9]+", re.ASCII)
_MAX_ROW_ID = 2**63 - 1
_MAX_KEY_CHARS = 1024

UPLOADS = "_uploads"
"""The folder of pictures that others are made from."""
STAGING = "_staging"
"""The folder of what is paid for and not finished, where a store keeps that too."""
MARKER = ".safelight-store"
"""What tells a store from any other, right in its folder."""


class InvalidKey(ValueError):
    """A key that could reach outside of its store, or that some store could not hold."""


def blob_key(
    *,
    account: str | None,
    prefix: str,
    group: str,
    image_id: str,
    output: str,
    row_id: int | str,
    sha256: str,
    extension: str,
) -> str:
    """Two different images never share a key, nor do two different contents of one.

    `prefix` may hold several segments; an empty `group` leaves its segment out. `row_id` is a number, or its
    hexadecimal digits; it is written with eight of them, or more when it needs more. Raises InvalidKey.
    """
    row = f"{row_id:08x}" if isinstance(row_id, int) else row_id.rjust(8, "0")
    owner = [] if account is None else [account]
    groups = [group] if group else []
    for part in (*owner, *groups, image_id, output, row, sha256, extension):
        _check_segment(part)
    name = f"{image_id}.{output}-{row}{sha256[:8]}.{extension}"
    key = "/".join([*owner, prefix, *groups, name])
    split_key(key)
    return key


def upload_key(*, account: str, upload_id: str, extension: str) -> str:
    """Where an upload lies; no picture of a job lies there. Raises InvalidKey."""
    key = f"{UPLOADS}/{account}/{upload_id}.{extension}"
    split_key(key)
    return key


def split_key(key: str) -> list[str]:
    """The key's segments, each of them safe as the name of a file. Raises InvalidKey."""
    if len(key) > _MAX_KEY_CHARS:
        raise InvalidKey(f"a key has at most {_MAX_KEY_CHARS} characters, not {len(key)}")
    segments = key.split("/")
    for segment in segments:
        _check_segment(segment)
    return segments


def is_reserved(segment: str) -> bool:
    """Whether a key that begins with this belongs to Safelight itself, whatever the store."""
    return segment in (UPLOADS, STAGING) or segment.startswith(".safelight")


def is_key(segments: Sequence[str]) -> bool:
    """Whether these names, one below the other, spell a key."""
    try:
        split_key("/".join(segments))
    except InvalidKey:
        return False
    return True


def markers_above(key: str) -> Iterator[str]:
    """Where the marker of another store would be in whose folder, below ours, this key lies."""
    folders = key.split("/")[:-1]
    return ("/".join((*folders[:depth], MARKER)) for depth in range(1, len(folders) + 1))


def row_id_of(key: str) -> int | None:
    """The image that a key of `blob_key` was made for; None for any other key."""
    named = _NAME.fullmatch(key.rpartition("/")[2])
    row_id = int(named[1], 16) if named else 0
    return row_id if 0 < row_id <= _MAX_ROW_ID else None


def _check_segment(segment: str) -> None:
    if segment in (".", "..") or not _SEGMENT.fullmatch(segment):
        raise InvalidKey(f"`{segment[:80]!r}` is not 1..255 of A-Z a-z 0-9 . _ - (nor `.` or `..`)")
