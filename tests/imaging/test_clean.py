"""A picture written anew is the same picture and nothing else."""

from __future__ import annotations

import io
import struct
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from safelight.imaging.clean import clean
from safelight.imaging.rendition import NotAnImage

words = st.binary(min_size=12, max_size=60).map(lambda tail: b"CANARY-4711-" + tail)
sides = st.integers(min_value=1, max_value=40)
colors = st.tuples(*[st.integers(min_value=0, max_value=255)] * 4)
forms = st.sampled_from(["PNG", "JPEG", "WEBP", "AVIF"])


def file_of(picture: Image.Image, form: str, word: bytes) -> bytes:
    """With the word in every place that the format has for words."""
    exif = Image.Exif()
    exif[0x010E] = exif[0x8298] = word.decode("latin-1").replace("\0", "")
    held = io.BytesIO()
    if form == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", word.decode("latin-1"))
        info.add_itxt("XML:com.adobe.xmp", word.decode("latin-1"))
        picture.save(held, "PNG", pnginfo=info, exif=exif)
        data = held.getvalue()
        return data[:33] + _chunk(b"prVt", word) + data[33:]
    if form == "JPEG":
        picture.convert("RGB").save(held, "JPEG", exif=exif, comment=word, icc_profile=b"\0" * 128 + word)
    else:
        picture.save(held, form, exif=exif, xmp=word)
    return held.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))


@settings(max_examples=40, deadline=None)
@given(form=forms, size=st.tuples(sides, sides), color=colors, word=words, has_trailer=st.booleans())
def test_no_word_that_a_file_carries_is_in_what_is_kept_of_it(
    form: str, size: tuple[int, int], color: tuple[int, int, int, int], word: bytes, has_trailer: bool
) -> None:
    given_file = file_of(Image.new("RGBA", size, color), form, word) + (word if has_trailer else b"")
    assert b"CANARY-4711" in given_file
    kept = clean(given_file)
    assert b"CANARY" not in kept.data
    opened = Image.open(io.BytesIO(kept.data))
    opened.load()
    assert opened.size == (kept.width_px, kept.height_px) == size
    assert not opened.getexif()
    assert not set(opened.info) & {"comment", "xmp", "icc_profile", "XML:com.adobe.xmp", "Comment"}
    assert kept.has_alpha == (form != "JPEG" and color[3] < 255)
    assert kept.format == ("png" if form == "PNG" or kept.has_alpha else "jpeg")
    if form == "PNG":
        assert opened.convert("RGBA").getpixel((0, 0)) == color


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "CMYK"])
def test_every_kind_of_pixels_becomes_srgb(mode: str) -> None:
    held = io.BytesIO()
    Image.new(mode, (9, 7)).save(held, "JPEG" if mode == "CMYK" else "PNG")
    kept = Image.open(io.BytesIO(clean(held.getvalue()).data))
    assert (kept.size, kept.mode) == ((9, 7), "RGBA" if mode == "LA" else "RGB")


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_packed_chunk_that_becomes_a_flood_is_not_unpacked(kind: bytes) -> None:
    held = io.BytesIO()
    Image.new("RGB", (8, 8)).save(held, "PNG")
    flood = zlib.compress(b"\0" * 20_000_000)
    data, head = held.getvalue(), b"k\0\1\0en\0k\0" if kind == b"iTXt" else b"k\0\0"
    with pytest.raises(NotAnImage) as refusal:
        clean(data[:33] + _chunk(kind, head + flood) + data[33:])
    assert refusal.value.code == "too-large"
    clean(data[:33] + _chunk(kind, head + zlib.compress(b"fine")) + data[33:])


def test_what_cannot_be_written_in_32_mb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safelight.imaging.clean.MAX_CLEAN_BYTES", 100)
    held = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(held, "PNG")
    with pytest.raises(NotAnImage) as refusal:
        clean(held.getvalue())
    assert refusal.value.code == "too-large"


def test_many_packed_chunks_are_refused_before_they_cost_much():
    bombs = {
        "whole": zlib.compress(b"\0" * 900_000, 9),
        "damaged at its end": zlib.compress(b"\0" * 900_000, 9)[:-4] + b"\1\1\1\1",
        "damaged at once": b"x\x9c" + b"\xff" * 40,
    }
    held = io.BytesIO()
    Image.new("RGB", (8, 8)).save(held, "PNG")
    picture = held.getvalue()
    for bomb in bombs.values():
        chunks = _chunk(b"zTXt", b"k\0\0" + bomb)
        clean(picture[:33] + chunks + picture[33:])
        started = time.process_time()
        with pytest.raises(NotAnImage) as refusal:
            clean(picture[:33] + chunks * 5000 + picture[33:])
        assert refusal.value.code == "too-large"
        assert time.process_time() - started < 5
