"""Pictures for the imaging tests, drawn by Pillow: not the library under test."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image


def noise(width_px: int = 320, height_px: int = 240) -> Image.Image:
    """Hard to compress, so that cutting its file anywhere cuts pixels."""
    return Image.effect_noise((width_px, height_px), 60).convert("RGB")


def encoded(picture: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_, **options)
    return buffer.getvalue()


def decoded(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))


def with_png_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    """The same picture with one more chunk, right after its header."""
    return png[:33] + png_chunk(kind, body) + png[33:]


def png_of_header_only(width_px: int, height_px: int) -> bytes:
    """Declares a picture and holds none of its rows."""
    header = struct.pack("!IIBBBBB", width_px, height_px, 8, 6, 0, 0, 0)
    rows = png_chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + rows + png_chunk(b"IEND", b"")
