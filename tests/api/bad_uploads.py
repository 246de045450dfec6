"""Uploads that are refused: files that are no pictures to be used, and forms without one."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

from PIL import Image


def file_of(picture: Image.Image, form: str, **options: Any) -> bytes:
    held = io.BytesIO()
    picture.save(held, form, **options)
    return held.getvalue()


def png(side_px: int = 8, color: Any = "teal", mode: str = "RGB") -> bytes:
    return file_of(Image.new(mode, (side_px, side_px), color), "PNG")


def noise(form: str, **options: Any) -> bytes:
    return file_of(Image.frombytes("RGB", (64, 48), random.Random(5).randbytes(64 * 48 * 3)), form, **options)


def with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    chunk = struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))
    return data[:33] + chunk + data[33:]


def animated(form: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    return file_of(frames[0], form, save_all=True, append_images=frames[1:])


BOMB = zlib.compress(b"\0" * 50_000_000)

REFUSED = {
    "SVG named .png": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "unsupported-image"),
    "HTML": (b"<!doctype html><script>alert(1)</script>", 415, "unsupported-image"),
    "PDF": (b"%PDF-1.7\n1 0 obj", 415, "unsupported-image"),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0", 415, "unsupported-image"),
    "ZIP": (b"PK\x03\x04" + b"\0" * 60, 415, "unsupported-image"),
    "ICO": (file_of(Image.new("RGB", (16, 16)), "ICO"), 415, "unsupported-image"),
    "GIF": (file_of(Image.new("P", (8, 8)), "GIF"), 415, "unsupported-image"),
    "TIFF": (file_of(Image.new("RGB", (8, 8)), "TIFF"), 415, "unsupported-image"),
    "truncated JPEG": (noise("JPEG")[:-400], 422, "corrupt-image"),
    "truncated PNG": (noise("PNG")[:-400], 422, "corrupt-image"),
    "truncated WebP": (noise("WEBP")[:-400], 422, "corrupt-image"),
    "13000 px squared": (file_of(Image.new("1", (13_000, 13_000)), "PNG"), 413, "image-too-large"),
    "40.3 megapixels": (file_of(Image.new("1", (6500, 6200)), "PNG"), 413, "image-too-large"),
    "zTXt bomb": (with_chunk(png(), b"zTXt", b"k\0\0" + BOMB), 413, "image-too-large"),
    "iTXt bomb": (with_chunk(png(), b"iTXt", b"k\0\1\0en\0k\0" + BOMB), 413, "image-too-large"),
    "iCCP bomb": (with_chunk(png(), b"iCCP", b"k\0\0" + BOMB), 413, "image-too-large"),
    "animated PNG": (animated("PNG"), 422, "unsupported-image"),
    "animated WebP": (animated("WEBP"), 422, "unsupported-image"),
}


NOT_ONE_FILE: dict[str, list[Any]] = {
    "0 bytes": [("file", ("a.png", b""))],
    "another part": [("picture", ("a.png", png()))],
    "two parts": [("file", ("a.png", png())), ("file", ("b.png", png()))],
    "1000 parts": [("file", (f"{n}.png", png())) for n in range(1000)],
}


def framed(*lines: bytes) -> bytes:
    return b"\r\n".join([b"--x", *lines])


FILE = b'Content-Disposition: form-data; name="file"'
END = (b"", b"abc", b"--x--", b"")
FORM, MALFORMED = "multipart/form-data; boundary=x", (400, "malformed-upload")
NO_FORMS = {
    "JSON": ("application/json", b"{}", (415, "unsupported-media-type")),
    "a bare picture": ("image/png", png(), (415, "unsupported-media-type")),
    "no boundary": ("multipart/form-data", b"--x--", MALFORMED),
    "no part": (FORM, b"--x--\r\n", MALFORMED),
    "not a form": (FORM, b"no boundary in it", MALFORMED),
    "cut short": (FORM, framed(FILE, b"", b"abc"), MALFORMED),
    "a long header": (FORM, framed(b"X-Long: " + b"a" * 9000, *END), MALFORMED),
    "nameless": (FORM, framed(*END), MALFORMED),
    "base64": (FORM, framed(FILE, b"Content-Transfer-Encoding: base64", *END), MALFORMED),
}
