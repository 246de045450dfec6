"""Server-sent events out of bytes, as the WHATWG's HTML standard reads them, in pieces of whatever size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from safelight.client.errors import NoStream

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Several times what a snapshot of the largest job takes."""

_LINE_END = re.compile(rb"[\r\n]")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSentEvent:
    """`id` is the one that came with this event; None where it brought none."""

    type: str
    data: str
    id: str | None


class EventParser:
    """Takes a stream from its first byte on. What is incomplete when it ends was no event.

    `retry_seconds`: how long the server wants a client to wait before it comes back, if it has said so.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.retry_seconds: float | None = None
        self._max_event_bytes = max_event_bytes
        self._line = bytearray()
        self._is_first_line = True
        self._ended_with_cr = False
        self._type = ""
        self._data: list[str] = []
        self._data_bytes = 0
        self._id: str | None = None

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """The events that these bytes complete. Raises NoStream for one that is too large to be of ours."""
        for line in self._lines(chunk):
            if line:
                self._take(line.decode("utf-8", errors="replace"))
                continue
            if self._data:
                yield ServerSentEvent(type=self._type or "message", data="\n".join(self._data), id=self._id)
            self._type, self._data, self._data_bytes, self._id = "", [], 0, None

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        start = 0
        if self._ended_with_cr and chunk:
            self._ended_with_cr = False
            start = int(chunk.startswith(b"\n"))
        while (end := _LINE_END.search(chunk, start)) is not None:
            self._grow(chunk[start : end.start()])
            line, self._line = bytes(self._line), bytearray()
            start = end.end()
            if end.group() == b"\r":
                if start == len(chunk):
                    self._ended_with_cr = True  # the line feed that belongs to it may be in the next piece
                elif chunk[start : start + 1] == b"\n":
                    start += 1
            if self._is_first_line:
                self._is_first_line = False
                line = line.removeprefix(_BOM)
            yield line
        self._grow(chunk[start:])

    def _grow(self, part: bytes) -> None:
        if len(self._line) + len(part) + self._data_bytes > self._max_event_bytes:
            raise NoStream(f"an event of more than {self._max_event_bytes} bytes")
        self._line += part

    def _take(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._type = value
            case "data":
                self._data.append(value)
                self._data_bytes += len(line)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_seconds = int(value) / 1000
            case _:
                pass  # a comment, or a field that is none
