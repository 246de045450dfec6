"""What is accepted as a picture, and what its renditions are like."""

from __future__ import annotations

import hashlib
import struct
import sys
import weakref
import zlib
from pathlib import Path
from typing import Any

import pytest
import pyvips
from children import rendering_children
from pictures import decoded, encoded, noise, png_chunk, png_of_header_only, with_png_chunk
from PIL import ExifTags, Image, PngImagePlugin

from safelight.imaging import render
from safelight.imaging.pool import MAX_INPUT_BYTES, RenderPool
from safelight.imaging.rendition import DEFAULT_QUALITY, MIME, NotAnImage, Rendition, Verified

CARD = Rendition(name="card", width_px=512, height_px=512)
CANARY = "canary-7f3a"

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "AVIF"])
async def test_every_accepted_format_is_verified_and_rendered_to_the_exact_size(
    render_pool: RenderPool, format_: str
) -> None:
    data = encoded(noise(320, 240), format_)

    verified, [card, thumb] = await render_pool.render(
        data, [CARD, Rendition(name="thumb", width_px=65, height_px=33, quality=40)]
    )

    assert verified == Verified(mime=f"image/{format_.lower()}", width_px=320, height_px=240, frames=1)
    assert await render_pool.verify(data) == verified
    assert (card.name, card.format, card.mime) == ("card", "jpeg", "image/jpeg")
    assert card.sha256 == hashlib.sha256(card.data).hexdigest()
    for rendered, size in ((card, (512, 512)), (thumb, (65, 33))):
        picture = decoded(rendered.data)
        assert (rendered.width_px, rendered.height_px) == picture.size == size
        assert (picture.format, picture.mode) == ("JPEG", "RGB")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
async def test_every_colour_mode_of_png_becomes_rgb(render_pool: RenderPool, mode: str) -> None:
    _, [card] = await render_pool.render(encoded(noise().convert(mode), "PNG"), [CARD])

    assert decoded(card.data).mode == "RGB"


async def test_cmyk_jpeg_becomes_rgb(render_pool: RenderPool) -> None:
    _, [card] = await render_pool.render(encoded(noise().convert("CMYK"), "JPEG"), [CARD])

    assert decoded(card.data).mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (511, 513), (1023, 767), (513, 2)])
async def test_any_proportion_covers_the_box_exactly(render_pool: RenderPool, size: tuple[int, int]) -> None:
    boxes = [Rendition(name="a", width_px=512, height_px=512), Rendition(name="b", width_px=333, height_px=7)]

    _, rendered = await render_pool.render(encoded(Image.new("RGB", size, GREEN), "PNG"), boxes)

    for box, one in zip(boxes, rendered, strict=True):
        picture = decoded(one.data)
        assert picture.size == (box.width_px, box.height_px)
        assert _near(picture.getpixel((0, 0)), GREEN)
        assert _near(picture.getpixel((box.width_px - 1, box.height_px - 1)), GREEN)


@pytest.mark.parametrize("upright", [False, True])
async def test_cover_keeps_the_centre(render_pool: RenderPool, upright: bool) -> None:
    thirds = Image.new("RGB", (900, 300), GREEN)
    thirds.paste(RED, (0, 0, 280, 300))
    thirds.paste(BLUE, (620, 0, 900, 300))
    if upright:
        thirds = thirds.transpose(Image.Transpose.ROTATE_270)

    _, [card] = await render_pool.render(encoded(thirds, "PNG"), [CARD])

    picture = decoded(card.data)
    for x, y in ((0, 0), (511, 0), (256, 256), (0, 511), (511, 511)):
        assert _near(picture.getpixel((x, y)), GREEN)


async def test_transparency_becomes_white(render_pool: RenderPool) -> None:
    _, [card] = await render_pool.render(encoded(Image.new("RGBA", (64, 64), (255, 0, 0, 0)), "PNG"), [CARD])

    assert _near(decoded(card.data).getpixel((256, 256)), (255, 255, 255))


async def test_orientation_is_applied_before_its_mark_is_dropped(render_pool: RenderPool) -> None:
    picture = Image.new("RGB", (200, 100), RED)
    picture.paste(BLUE, (100, 0, 200, 100))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright: what was left is on top

    verified, [card] = await render_pool.render(
        encoded(picture, "JPEG", exif=exif), [Rendition(name="card", width_px=100, height_px=200)]
    )

    assert (verified.width_px, verified.height_px) == (100, 200)
    assert _near(decoded(card.data).getpixel((50, 20)), RED)
    assert _near(decoded(card.data).getpixel((50, 180)), BLUE)


async def test_an_embedded_profile_is_converted_to_srgb(render_pool: RenderPool) -> None:
    green = (
        pyvips.Image.black(64, 64, bands=3).linear([1.0], [0.0, 255.0, 0.0]).cast("uchar").copy(interpretation="srgb")
    )
    in_p3 = green.icc_transform("p3").pngsave_buffer()
    assert not _near(decoded(in_p3).getpixel((32, 32)), GREEN)

    _, [card] = await render_pool.render(in_p3, [CARD])

    assert _near(decoded(card.data).getpixel((256, 256)), GREEN)
    assert "icc_profile" not in decoded(card.data).info


def _png_with_text() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", CANARY)
    text.add_text("Zipped", CANARY, zip=True)
    text.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta>{CANARY}</x:xmpmeta>")
    return encoded(noise(), "PNG", pnginfo=text, exif=_exif(), dpi=(7, 13)) + CANARY.encode()


def _jpeg_with_everything() -> bytes:
    more = {"xmp": CANARY.encode(), "icc_profile": CANARY.encode(), "dpi": (7, 13)}
    return encoded(noise(), "JPEG", comment=CANARY, exif=_exif(), **more)


def _webp_with_everything() -> bytes:
    return encoded(noise(), "WEBP", exif=_exif(), xmp=CANARY.encode(), icc_profile=CANARY.encode())


def _avif_with_everything() -> bytes:
    return encoded(noise(), "AVIF", exif=_exif(), xmp=CANARY.encode())


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = CANARY
    return exif


@pytest.mark.parametrize(
    "data",
    [_png_with_text(), _jpeg_with_everything(), _webp_with_everything(), _avif_with_everything()],
    ids=["png", "jpeg", "webp", "avif"],
)
async def test_no_metadata_survives(render_pool: RenderPool, data: bytes) -> None:
    assert CANARY.encode() in data
    in_every_format = [
        Rendition(name=each, width_px=512, height_px=512, format=each, quality=DEFAULT_QUALITY[each]) for each in MIME
    ]

    _, outputs = await render_pool.render(data, in_every_format)

    about_pixels = {"progressive", "progression", "loop", "background", "timestamp", "duration"}
    for output in outputs:
        assert CANARY.encode() not in output.data
        picture = decoded(output.data)
        assert not picture.getexif()
        assert set(picture.info) - about_pixels <= {"dpi"}
        assert picture.info.get("dpi", (72, 72)) == pytest.approx((72, 72), abs=0.1)


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("AVIF", {}),
    ],
)
async def test_a_file_cut_short_anywhere_is_refused(
    render_pool: RenderPool, format_: str, options: dict[str, bool]
) -> None:
    data = encoded(noise(), format_, **options)

    for kept in (len(data) - 1, len(data) - 13, len(data) * 9 // 10, len(data) // 2, len(data) // 10, 64):
        with pytest.raises(NotAnImage) as refusal:
            await render_pool.verify(data[:kept])
        assert refusal.value.code == "truncated"


async def test_missing_rows_are_found_although_the_end_mark_is_there(render_pool: RenderPool) -> None:
    rows = zlib.compress(b"".join(b"\0" + bytes(300) for _ in range(50)))  # 50 of 100
    header = struct.pack("!IIBBBBB", 100, 100, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")

    with pytest.raises(NotAnImage) as refusal:
        await render_pool.verify(png)

    assert refusal.value.code == "truncated"


async def test_a_jpeg_whose_second_half_was_never_written_is_refused(render_pool: RenderPool) -> None:
    data = encoded(noise(), "JPEG", exif=_exif())
    half = len(data) // 2

    with pytest.raises(NotAnImage) as refusal:
        await render_pool.verify(data[:half] + bytes(len(data) - half))

    assert refusal.value.code == "truncated"


async def test_the_end_mark_of_an_embedded_preview_does_not_count(render_pool: RenderPool) -> None:
    preview = b"preview" + b"\xff\xd9"
    data = encoded(noise(), "JPEG")
    with_preview = data[:2] + b"\xff\xe5" + struct.pack("!H", len(preview) + 2) + preview + data[2:]
    assert (await render_pool.verify(with_preview)).mime == "image/jpeg"

    half = len(with_preview) // 2
    with pytest.raises(NotAnImage) as refusal:
        await render_pool.verify(with_preview[:half] + bytes(len(with_preview) - half))

    assert refusal.value.code == "truncated"


async def test_what_follows_the_end_mark_is_ignored(render_pool: RenderPool) -> None:
    for format_ in ("PNG", "JPEG"):
        data = encoded(noise(), format_) + b"PK\x03\x04<html>" + CANARY.encode()
        _, [card] = await render_pool.render(data, [CARD])
        assert CANARY.encode() not in card.data


async def test_a_damaged_file_that_its_decoder_quotes_is_refused_and_harms_no_other(render_pool: RenderPool) -> None:
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    avif = encoded(noise(), "AVIF", exif=turned.tobytes())
    await render_pool.verify(avif)
    before = rendering_children()

    with pytest.raises(NotAnImage, match="damaged"):
        await render_pool.verify(avif.replace(b"irot", b"iro\xff"))
    with pytest.raises(NotAnImage, match="jpeg"):
        await render_pool.verify(b"\xff\xd8\xff\xd9")

    assert rendering_children() == before


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "not-an-image"),
        (b"\0" * 4096, "not-an-image"),
        (b"<!doctype html><title>502 Bad Gateway</title>", "not-an-image"),
        (b'{"error": {"message": "quota exceeded"}}', "not-an-image"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported-format"),
        (b"%PDF-1.7\n", "unsupported-format"),
        (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", "unsupported-format"),
        (encoded(noise(), "GIF"), "unsupported-format"),
        (encoded(noise(), "TIFF"), "unsupported-format"),
        (encoded(noise(), "BMP"), "unsupported-format"),
        (encoded(noise(64, 64), "ICO"), "unsupported-format"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"\xff\xd8\xff\xe0", "truncated"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "truncated"),
        (b"\0\0\0\x18ftypavif\0\0\0\0avifmif1", "truncated"),
        (png_of_header_only(0, 64), "truncated"),
    ],
)
async def test_what_is_no_picture_is_refused_by_name(render_pool: RenderPool, data: bytes, code: str) -> None:
    with pytest.raises(NotAnImage) as refusal:
        await render_pool.verify(data)

    assert refusal.value.code == code
    assert refusal.value.message


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "AVIF"])
async def test_more_than_one_frame_is_refused(render_pool: RenderPool, format_: str) -> None:
    frames = [Image.new("RGB", (64, 64), colour) for colour in (RED, GREEN, BLUE)]

    with pytest.raises(NotAnImage) as refusal:
        await render_pool.verify(encoded(frames[0], format_, save_all=True, append_images=frames[1:], duration=100))

    assert refusal.value.code == "animated"


async def test_a_pixel_bomb_is_refused_by_its_header(render_pool: RenderPool) -> None:
    """The bomb holds not a single row: a decoder that had looked for one would have called it truncated."""
    with pytest.raises(NotAnImage) as refusal:
        await render_pool.verify(png_of_header_only(13_000, 13_000))
    assert refusal.value.code == "too-large"

    with pytest.raises(NotAnImage) as refusal:
        await render_pool.verify(png_of_header_only(6_000, 6_000))  # 36 megapixels are within the budget
    assert refusal.value.code == "truncated"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell another process's peak")
async def test_a_text_bomb_is_not_unpacked(render_pool: RenderPool) -> None:
    bomb = with_png_chunk(encoded(noise(), "PNG"), b"zTXt", b"key\0\0" + zlib.compress(bytes(400_000_000), 1))

    assert (await render_pool.verify(bomb)).width_px == 320

    [child] = rendering_children()
    status = Path(f"/proc/{child.pid}/status").read_text()
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak_kb < 200_000


async def test_more_bytes_than_any_picture_has_are_refused_unread(render_pool: RenderPool) -> None:
    with pytest.raises(NotAnImage) as refusal:
        await render_pool.verify(bytes(MAX_INPUT_BYTES + 1))

    assert refusal.value.code == "too-large"


@pytest.mark.parametrize(
    ("format_", "options"),
    [("JPEG", {"quality": 85}), ("WEBP", {"method": 0}), ("PNG", {"compress_level": 1})],
)
async def test_a_picture_of_the_whole_pixel_budget_is_rendered_within_the_limits(
    render_pool: RenderPool, format_: str, options: dict[str, int]
) -> None:
    forty_megapixels = Image.linear_gradient("L").resize((6_400, 6_250)).convert("RGB")

    verified, [card] = await render_pool.render(encoded(forty_megapixels, format_, **options), [CARD])

    assert verified.width_px * verified.height_px == 40_000_000
    assert decoded(card.data).size == (512, 512)


@pytest.mark.parametrize(
    "fields",
    [
        {"width_px": 0},
        {"height_px": 8193},
        {"quality": 0},
        {"quality": 101},
        {"quality": None},
        {"fit": "stretch"},
        {"format": "gif"},
        {"format": "original"},
        {"format": "png", "quality": 80},
        {"name": ""},
    ],
)
def test_a_rendition_outside_of_its_bounds_cannot_be_made(fields: dict[str, object]) -> None:
    good: dict[str, object] = {"name": "card", "width_px": 512, "height_px": 512}
    with pytest.raises(ValueError, match=r"."):
        Rendition(**{**good, **fields})  # pyright: ignore[reportArgumentType]


def _near(pixel: object, colour: tuple[int, int, int]) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(have - want) <= 12 for have, want in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("way", ["examine", "pixels_of"])
def test_what_a_picture_was_decoded_from_is_gone_before_it_is_worked_on(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interlaced PNG's loader holds all of its pixels: with them a large one does not fit into a child."""
    opened: list[weakref.ref[_Mark]] = []
    really_open, really_in_srgb = render._open, render._to_srgb

    def opening(*args: Any, **options: Any) -> pyvips.Image:
        header = really_open(*args, **options)
        mark = _Mark()
        header._references.append(mark)  # an image takes no weak reference itself
        opened.append(weakref.ref(mark))
        return header

    def in_srgb(picture: pyvips.Image) -> pyvips.Image:
        assert [each for each in opened if each() is not None] == []
        return really_in_srgb(picture)

    monkeypatch.setattr(render, "_open", opening)
    monkeypatch.setattr(render, "_to_srgb", in_srgb)
    data = pyvips.Image.black(64, 48, bands=3).copy(interpretation="srgb").pngsave_buffer(interlace=True)
    if way == "examine":
        render.examine(data, [Rendition(name="card", width_px=32, height_px=32)])
    else:
        render.pixels_of(data)
    assert opened


class _Mark:
    """Lives as long as the image that it is put on."""
