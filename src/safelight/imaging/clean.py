"""From a stranger's bytes to the same picture and nothing else: decoded whole, and written anew.

What is written holds pixels alone: no metadata, no comment, nothing behind the end mark, and none of the bytes that
came.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator

from safelight.imaging.render import encoded, pixels_of
from safelight.imaging.rendition import MIME, Cleaned, Format, NotAnImage

MAX_CLEAN_BYTES = 32_000_000
"""Of what is written. A PNG takes about as much as it did; what was packed harder may not fit. Chosen."""

_JPEG_QUALITY = 95
"""With the colours at full resolution: one generation more, which nobody sees. Chosen."""
_MAX_UNPACKED_BYTES = 1_000_000
"""Of a packed chunk that holds no pixels. A colour profile has some thousand. Chosen."""
_MAX_UNPACKED_TOGETHER_BYTES = 4_000_000
"""Of all of them: a file of 20 MB has room for twenty thousand. Chosen."""
_STEP_BYTES = 64_000
_PNG = b"\x89PNG\r\n\x1a\n"


def clean(data: bytes) -> Cleaned:
    """The picture, upright and in sRGB: a PNG if it was one, or if something in it is transparent; else a JPEG.

    Raises NotAnImage.
    """
    if data.startswith(_PNG):
        _check_packed_chunks(data)
    verified, pixels = pixels_of(data)
    format_: Format = "png" if verified.mime == MIME["png"] or pixels.hasalpha() else "jpeg"
    written = encoded(pixels, format_, _JPEG_QUALITY if format_ == "jpeg" else None)
    if len(written) > MAX_CLEAN_BYTES:
        raise NotAnImage("too-large", f"written anew it takes more than {MAX_CLEAN_BYTES // 1_000_000} MB")
    return Cleaned(
        data=written,
        width_px=pixels.width,
        height_px=pixels.height,
        format=format_,
        mime=MIME[format_],
        sha256=hashlib.sha256(written).hexdigest(),
        has_alpha=bool(pixels.hasalpha()),
    )


def _check_packed_chunks(data: bytes) -> None:
    """A decoder may unpack these whole, however much they become."""
    together = 0
    for kind, packed in _packed_parts(data):
        much = _unpacked_bytes(packed)
        together += much
        if much > _MAX_UNPACKED_BYTES or together > _MAX_UNPACKED_TOGETHER_BYTES:
            raise NotAnImage("too-large", f"what is packed in its {kind} chunk is more than it may be")


def _unpacked_bytes(packed: bytes) -> int:
    """How much it becomes, as far as it has to be known. A step that fails counts as a whole one; what is damaged is
    the decoder's to judge."""
    unpacker, much = zlib.decompressobj(), 0
    while much <= _MAX_UNPACKED_BYTES:
        try:
            piece = unpacker.decompress(packed, _STEP_BYTES)
        except zlib.error:
            return much + _STEP_BYTES
        if not piece:
            break
        much += len(piece)
        packed = unpacker.unconsumed_tail
    return much


def _packed_parts(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What is zlib in a PNG beside its pixels: behind a keyword, a method and, in `iTXt`, two more texts."""
    position = len(_PNG)
    while position + 12 <= len(data):
        length, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            _, _, rest = data[position + 8 : position + 8 + length].partition(b"\0")
            yield kind.decode(), rest[2:].split(b"\0", 2)[-1] if kind == b"iTXt" else rest[1:]
        position += 12 + length
