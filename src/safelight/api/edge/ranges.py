"""Parts of an answer (RFC 9110, range requests)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.requests import Request

_RANGE = re.compile(r"bytes=\s*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """`length` bytes from `start` on; at least one."""

    start: int
    length: int

    def content_range(self, whole: int) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{whole}"


class NoSuchPart(Exception):
    """The range begins where the bytes have ended."""


def part_of(request: Request, *, tag: str, length: int) -> Part | None:
    """The one range that the request asks for; None when it is to have the whole: it asks for none or for several, in
    no form that we know, or of something else than what has this tag (`If-Range`). Raises NoSuchPart."""
    sent = request.headers.getlist("range")
    match = _RANGE.fullmatch(sent[0]) if len(sent) == 1 and request.method == "GET" else None
    if match is None or request.headers.get("if-range", tag) != tag:
        return None
    if match[3] is not None:
        start = max(0, length - int(match[3]))
        end = length
    else:
        start = int(match[1])
        end = min(length, int(match[2]) + 1) if match[2] else length
        if match[2] and int(match[2]) < start:
            return None
    if start >= length:
        raise NoSuchPart
    return Part(start, end - start)
