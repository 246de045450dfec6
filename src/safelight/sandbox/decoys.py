"""Bytes that go where a picture belongs: none, not quite one, or far too much of one.

The bombs are honest files: a reader that has no limits gets a picture out of each, and pays for it in memory.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Iterator
from functools import cache

from PIL import Image

_MEGABYTE = 1_000_000
_GZIP = 31  # zlib's number for the format
_PNG_HEADER_BYTES = 33
_FRAMES = 10_000
_FRAME_PX = 16


def garbage() -> bytes:
    """8 kB of noise, always the same."""
    return random.Random("garbage").randbytes(8192)  # noqa: S311


def as_jpeg(png: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(file, "JPEG", quality=85)
    return file.getvalue()


@cache
def pixel_bomb() -> bytes:
    """A PNG of 20 000 × 10 000 px, all white, in 45 kB: 800 MB once it is RGBA."""
    file = io.BytesIO()
    Image.new("1", (20_000, 10_000), 1).save(file, "PNG")
    return file.getvalue()


def text_bomb(png: bytes, *, megabytes: int) -> bytes:
    """The same picture with a comment of that many blanks, compressed to a thousandth."""
    text = b"".join(_compressed(_blanks(megabytes), wbits=zlib.MAX_WBITS))
    body = b"zTXt" + b"Comment\0\0" + text
    chunk = struct.pack("!I", len(body) - 4) + body + struct.pack("!I", zlib.crc32(body))
    return png[:_PNG_HEADER_BYTES] + chunk + png[_PNG_HEADER_BYTES:]


def gzip_bomb(content: bytes, *, megabytes: int) -> bytes:
    """The same content, followed by that many megabytes of blanks, compressed to a thousandth."""
    return b"".join(_compressed((content, *_blanks(megabytes)), wbits=_GZIP))


@cache
def animation() -> bytes:
    """A WebP of 10 000 frames."""
    file = io.BytesIO()
    Image.new("RGB", (_FRAME_PX, _FRAME_PX), "white").save(file, "WEBP", lossless=True)
    still = file.getvalue()[12:]
    side = _uint24(_FRAME_PX - 1)
    frame = _riff_chunk(b"ANMF", _uint24(0) * 2 + side * 2 + _uint24(40) + b"\0" + still)
    canvas = _riff_chunk(b"VP8X", b"\x02\0\0\0" + side * 2)
    return _riff_chunk(b"RIFF", b"WEBP" + canvas + _riff_chunk(b"ANIM", bytes(6)) + frame * _FRAMES)


def _blanks(megabytes: int) -> Iterator[bytes]:
    megabyte = b" " * _MEGABYTE
    return (megabyte for _ in range(megabytes))


def _compressed(parts: Iterator[bytes] | tuple[bytes, ...], *, wbits: int) -> Iterator[bytes]:
    compressor = zlib.compressobj(level=1, wbits=wbits)
    for part in parts:
        yield compressor.compress(part)
    yield compressor.flush()


def _riff_chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _uint24(number: int) -> bytes:
    return number.to_bytes(3, "little")
