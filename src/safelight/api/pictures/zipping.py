"""A ZIP file that is sent while it is made: stored, not compressed, and no more of it in memory than a step."""

from __future__ import annotations

import io
import zipfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from safelight.api.pictures.picture import BrokeOff
from safelight.storage.serving import OpenBlob

_FIRST_YEAR = 1980
"""That the format can name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file of the archive; `content` is opened when its turn has come."""

    name: str
    at: datetime
    length: int
    content: AbstractAsyncContextManager[OpenBlob]


async def zipped(first: tuple[str, datetime, bytes], entries: Iterable[Entry]) -> AsyncIterator[bytes]:
    """The bytes of the archive: a small file, then the entries in their order. Raises BrokeOff when one ends before its
    length: then the archive has no end, and nobody takes it for whole."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        name, at, data = first
        archive.writestr(_info(name, at), data)
        yield sink.taken()
        for entry in entries:
            async with entry.content as blob:
                if blob.length != entry.length:
                    raise BrokeOff
                info = _info(entry.name, entry.at)
                info.file_size = entry.length
                with archive.open(info, "w") as file:
                    sent = 0
                    while sent < entry.length:
                        step = await blob.read(sent, min(blob.step_bytes, entry.length - sent))
                        if not step:
                            raise BrokeOff
                        file.write(step)
                        sent += len(step)
                        yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """Where the archive is written to; it cannot go back, and gives away what it has."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object, /) -> int:
        part = bytes(data)  # pyright: ignore[reportArgumentType] - anything that has bytes
        self._parts.append(part)
        return len(part)

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _info(name: str, at: datetime) -> zipfile.ZipInfo:
    at = at.astimezone(UTC)
    moment = (max(at.year, _FIRST_YEAR), at.month, at.day, at.hour, at.minute, at.second)
    info = zipfile.ZipInfo(name, moment)
    info.external_attr = 0o644 << 16
    return info
