"""What can be told from an image file's bytes before any decoder sees them.

A decoder stops reading when it has all its pixels. These checks look at what it skips: the format's own end
mark, and frames after the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from safelight.imaging.rendition import Format, NotAnImage

_START_OF_SCAN = 0xDA

_OTHER_FORMATS = (
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"\0\0\1\0", "ICO"),
    (b"8BPS", "PSD"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
)


def begun_as(data: bytes) -> Format | None:
    """What the first bytes say. Whether the rest is there takes time, and is for `sniff` to find out."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return "avif" if data[4:8] == b"ftyp" else None


def sniff(data: bytes) -> Format:
    """Raises NotAnImage for anything but a still PNG, JPEG, WebP or AVIF that is there to its end mark."""
    format_ = begun_as(data)
    if format_ is not None:
        if check := _CHECKS.get(format_):
            check(data)
        return format_
    for magic, name in _OTHER_FORMATS:
        if data.startswith(magic):
            raise NotAnImage("unsupported-format", f"the bytes are {name}, not PNG, JPEG, WebP or AVIF")
    if b"<svg" in data[:1024].lower():
        raise NotAnImage("unsupported-format", "the bytes are SVG, not PNG, JPEG, WebP or AVIF")
    raise NotAnImage("not-an-image", f"{len(data)} bytes that begin like no known image format")


def _check_png(data: bytes) -> None:
    for kind, body in _png_chunks(data):
        if kind == b"acTL" and int.from_bytes(body[:4], "big") > 1:
            raise NotAnImage("animated", "the PNG has more than one frame")
        if kind == b"IEND":
            return
    raise NotAnImage("truncated", "the PNG ends before its end chunk")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        yield data[position + 4 : position + 8], data[position + 8 : position + 8 + min(length, 8)]
        position += 12 + length


def _check_jpeg(data: bytes) -> None:
    """Among the coded pixels 0xFFD9 can only be the end mark; before them it may belong to a preview."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != _START_OF_SCAN:
        if data[position + 1] == 0xFF:  # filler
            position += 1
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    if data.find(b"\xff\xd9", position) == -1:
        raise NotAnImage("truncated", "the JPEG ends before its end mark")


def _check_avif(data: bytes) -> None:
    box_length = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, box_length, 4)}
    if b"avis" in brands:
        raise NotAnImage("animated", "the AVIF is an image sequence")
    if b"avif" not in brands:
        raise NotAnImage("unsupported-format", "an ISO media file that is not AVIF")


_CHECKS: Mapping[Format, Callable[[bytes], None]] = {"png": _check_png, "jpeg": _check_jpeg, "avif": _check_avif}
"""A WebP says how long it is, and its decoder heeds that."""
