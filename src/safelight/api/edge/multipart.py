"""The body of a form that holds files (RFC 7578), off the wire: taken apart as it arrives, bounded in size, parts and
time."""

from __future__ import annotations

from dataclasses import dataclass, field

from python_multipart.exceptions import ParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from safelight.api.edge.body import read_pieces, require_identity
from safelight.domain.errors import SafelightError

_FRAME_BYTES = 64_000
"""What may stand around the parts' contents. Chosen."""
_MAX_NAME_CHARS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a form. What its sender calls the file, and its type, is forgotten: neither is to be believed.
    `is_file`: it had a file name."""

    name: str
    is_file: bool
    data: bytes = field(repr=False)


async def read_form(request: Request, *, max_bytes: int, max_parts: int, within_seconds: float) -> list[Part]:
    """The parts of the form, in order. `max_bytes` is of all their contents together.

    Raises SafelightError: `unsupported-media-type`, `unsupported-encoding`, `payload-too-large`, `request-timeout`, and
    `malformed-upload` for what is no whole form, or one with more parts.
    """
    require_identity(request)
    reader = _Reader(_boundary(request), max_parts=max_parts)
    try:
        await read_pieces(
            request,
            reader.take,
            max_bytes=max_bytes + _FRAME_BYTES,
            within_seconds=within_seconds,
            cut_short="malformed-upload",
        )
        return reader.parts(max_bytes)
    except ParseError:
        raise malformed("The body is no multipart/form-data.") from None


def malformed(detail: str) -> SafelightError:
    return SafelightError(detail, slug="malformed-upload")


def _boundary(request: Request) -> bytes:
    sent = request.headers.getlist("content-type")
    media_type, parameters = parse_options_header(sent[0] if len(sent) == 1 else "")
    if media_type != b"multipart/form-data":
        raise SafelightError(
            "The body must be sent as `Content-Type: multipart/form-data`.", slug="unsupported-media-type"
        )
    boundary = parameters.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise malformed("`Content-Type` names no boundary of 1 to 70 characters.")
    return boundary


class _Reader:
    def __init__(self, boundary: bytes, *, max_parts: int) -> None:
        self._max_parts = max_parts
        self._found: list[tuple[bytearray, dict[bytes, bytes]]] = []
        self._header = bytearray(), bytearray()
        self._is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_header_field": self._header_name,
                "on_header_value": self._header_text,
                "on_header_end": self._header_end,
                "on_end": self._end,
            },
        )

    def take(self, piece: bytes) -> None:
        self._parser.write(piece)

    def parts(self, max_bytes: int) -> list[Part]:
        self._parser.finalize()
        if not self._is_whole:
            raise malformed("The body ended before its closing boundary.")
        found = [_part(headers, bytes(data)) for data, headers in self._found]
        if sum(len(part.data) for part in found) > max_bytes:
            raise SafelightError(f"The files have more than {max_bytes // 1_000_000} MB.", slug="payload-too-large")
        return found

    def _begin(self) -> None:
        if len(self._found) == self._max_parts:
            raise malformed(f"The form has more than {self._max_parts} parts.")
        self._found.append((bytearray(), {}))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._found[-1][0].extend(memoryview(data)[start:end])

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def _header_text(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def _header_end(self) -> None:
        name, text = self._header
        self._found[-1][1][bytes(name).lower()] = bytes(text)
        self._header = bytearray(), bytearray()

    def _end(self) -> None:
        self._is_whole = True


def _part(headers: dict[bytes, bytes], data: bytes) -> Part:
    sent = headers.get(b"content-disposition", b"")
    disposition, parameters = parse_options_header(sent)
    name = parameters.get(b"name", b"").decode("utf-8", "replace")
    if disposition != b"form-data" or not 1 <= len(name) <= _MAX_NAME_CHARS:
        raise malformed("A part of the form has no name.")
    if headers.get(b"content-transfer-encoding", b"binary").strip().lower() not in (b"binary", b"8bit", b"7bit"):
        raise malformed("A part of the form is encoded; send it as it is.")
    # In its extended form, which some clients use for names beyond ASCII, the parser leaves it out.
    is_file = b"filename" in parameters or b"filename*" in sent.lower()
    return Part(name=name, is_file=is_file, data=data)
