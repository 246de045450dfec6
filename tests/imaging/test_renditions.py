"""Renditions of every fit in every format, as a decoder of another make sees them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import product
from typing import get_args

import pytest
from pictures import decoded, encoded, noise
from PIL import Image, ImageChops, ImageStat

from safelight.imaging.pool import RenderPool
from safelight.imaging.rendition import DEFAULT_QUALITY, Fit, Format, NotAnImage, Original, Rendered, Rendition

FITS: tuple[Fit, ...] = get_args(Fit)
FORMATS: tuple[Format, ...] = get_args(Format)
WITH_ALPHA = [format_ for format_ in FORMATS if format_ != "jpeg"]
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def rendition(
    fit: Fit, format_: Format, width_px: int = 200, height_px: int = 100, quality: int | None = None
) -> Rendition:
    return Rendition(
        name=f"{fit}-{format_}",
        width_px=width_px,
        height_px=height_px,
        fit=fit,
        format=format_,
        quality=DEFAULT_QUALITY[format_] if quality is None else quality,
    )


async def rendered(pool: RenderPool, data: bytes, *wanted: Rendition) -> list[tuple[Rendition, Rendered, Image.Image]]:
    _, outputs = await pool.render(data, wanted)
    return [(want, output, decoded(output.data)) for want, output in zip(wanted, outputs, strict=True)]


@pytest.mark.parametrize("format_", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "size", [(1, 1), (5, 3), (199, 101), (200, 100), (201, 99), (511, 383), (640, 1601), (1, 4000), (4000, 1)]
)
async def test_every_fit_in_every_format_has_the_size_that_its_name_promises(
    render_pool: RenderPool, size: tuple[int, int], format_: str
) -> None:
    data = encoded(Image.new("RGB", size, GREEN), format_)
    wanted = [rendition(fit, each) for fit, each in product(FITS, FORMATS)]

    for want, output, picture in await rendered(render_pool, data, *wanted):
        assert picture.size == (output.width_px, output.height_px)
        assert picture.format == want.format.upper()
        assert (output.name, output.format, output.mime) == (want.name, want.format, f"image/{want.format}")
        assert output.sha256 == hashlib.sha256(output.data).hexdigest()
        if want.fit == "inside":
            scale = min(1, 200 / size[0], 100 / size[1])
            assert picture.size == tuple(max(1, round(side * scale)) for side in size)
        else:
            assert picture.size == (200, 100)
        if want.fit != "contain" or want.format == "png":  # a line of 1 px is less than a lossy format shows
            assert near(picture, 0.4999, 0.4999, GREEN), want


async def test_cover_cuts_contain_pads_and_inside_shows_all_as_it_is(render_pool: RenderPool) -> None:
    """Four bands, 80 wide and 160 high, into 200 × 100."""
    data = encoded(bands(80, 160), "PNG")
    wanted = [rendition(fit, format_) for fit, format_ in product(FITS, FORMATS)]

    for want, _, picture in await rendered(render_pool, data, *wanted):
        if want.fit == "cover":  # a quarter of the height is left: the ends of the two middle bands
            assert near(picture, 0.02, 0.1, GREEN), want
            assert near(picture, 0.98, 0.9, BLUE), want
        else:
            assert near(picture, 0.5, 0.05, RED), want
            assert near(picture, 0.5, 0.4, GREEN), want
            assert near(picture, 0.5, 0.95, (0, 0, 0)), want
        if want.fit == "contain":
            for x in (0.02, 0.3, 0.7, 0.98):  # the picture itself is 50 px wide
                assert is_background(picture, x, 0.5, white=want.format == "jpeg"), want
        if want.fit == "inside":
            assert picture.size == (50, 100)
            assert picture.mode == "RGB"


@pytest.mark.parametrize("fit", FITS)
async def test_orientation_is_applied_before_anything_is_measured(render_pool: RenderPool, fit: Fit) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright: what was left is on top
    lying = bands(160, 320).transpose(Image.Transpose.ROTATE_90)
    data = encoded(lying, "JPEG", exif=exif, quality=95)

    for want, _, picture in await rendered(
        render_pool, data, *(rendition(fit, format_, 40, 80) for format_ in FORMATS)
    ):
        assert picture.size == (40, 80)
        assert picture.mode == "RGB"
        assert not picture.getexif()
        for y, colour in ((0.1, RED), (0.37, GREEN), (0.63, BLUE), (0.9, (0, 0, 0))):
            assert near(picture, 0.5, y, colour), want


@pytest.mark.parametrize("fit", FITS)
async def test_transparency_stays_where_the_format_knows_it_and_is_white_in_jpeg(
    render_pool: RenderPool, fit: Fit
) -> None:
    picture = Image.new("RGBA", (400, 200), (*RED, 255))
    picture.paste((*GREEN, 0), (200, 0, 400, 200))  # a colour that nobody is to see

    for want, _, made in await rendered(
        render_pool, encoded(picture, "PNG"), *(rendition(fit, format_) for format_ in FORMATS)
    ):
        assert near(made, 0.1, 0.5, RED), want
        assert is_background(made, 0.9, 0.5, white=want.format == "jpeg"), want


async def test_the_colour_of_what_is_transparent_does_not_bleed_into_edges(render_pool: RenderPool) -> None:
    picture = Image.new("RGBA", (401, 201), (*RED, 255))
    picture.paste((*GREEN, 0), (203, 0, 401, 201))

    for want, _, made in await rendered(
        render_pool, encoded(picture, "PNG"), rendition("cover", "png", 57, 31), rendition("cover", "jpeg", 57, 31)
    ):
        for x in range(made.width):
            pixel = made.convert("RGBA").getpixel((x, 15))
            assert isinstance(pixel, tuple)
            red, green, blue, alpha = pixel
            assert alpha < 8 or (abs(green - blue) < 24 and red > 200), (want, x, pixel)


async def test_an_alpha_channel_that_hides_nothing_is_dropped(render_pool: RenderPool) -> None:
    data = encoded(noise().convert("RGBA"), "PNG")

    for _, _, picture in await rendered(render_pool, data, *(rendition("cover", each) for each in FORMATS)):
        assert picture.mode == "RGB"


@pytest.mark.parametrize("source", [("PNG", {}), ("JPEG", {"quality": 95}), ("JPEG", {"progressive": True})])
async def test_a_rendition_is_what_another_resampler_makes_of_the_whole_picture(
    render_pool: RenderPool, source: tuple[str, dict[str, int]]
) -> None:
    """A large JPEG is decoded at a part of its size; that is not to be seen."""
    format_, options = source
    drawn = Image.merge("RGB", [Image.radial_gradient("L").rotate(turn).resize((2049, 1537)) for turn in (0, 90, 45)])
    data = encoded(Image.blend(drawn, noise(2049, 1537), 0.3), format_, **options)

    [(_, _, made)] = await rendered(render_pool, data, rendition("inside", "png", 256, 256))

    assert made.size == (256, 192)
    other = decoded(data).resize(made.size, Image.Resampling.LANCZOS)
    assert max(ImageStat.Stat(ImageChops.difference(made, other)).mean) < 2.5


async def test_a_jpeg_that_is_decoded_smaller_is_still_read_to_its_end(render_pool: RenderPool) -> None:
    thumb = rendition("cover", "jpeg", 64, 64)
    for options in ({}, {"progressive": True}):
        data = encoded(noise(1600, 1200), "JPEG", **options)
        verified, [output] = await render_pool.render(data, [thumb])
        assert (verified.width_px, verified.height_px) == (1600, 1200)
        assert decoded(output.data).size == (64, 64)
        for kept in (len(data) - 1, len(data) * 99 // 100, len(data) // 2, len(data) // 10):
            with pytest.raises(NotAnImage) as refusal:
                await render_pool.render(data[:kept], [thumb])
            assert refusal.value.code == "truncated"


@pytest.mark.parametrize("format_", ["jpeg", "webp", "avif"])
async def test_less_quality_is_fewer_bytes(render_pool: RenderPool, format_: Format) -> None:
    _, outputs = await render_pool.render(
        encoded(noise(), "PNG"), [rendition("cover", format_, quality=quality) for quality in (1, 30, 70, 95, 100)]
    )

    sizes = [len(output.data) for output in outputs]
    assert sizes == sorted(set(sizes))


async def test_png_keeps_every_pixel(render_pool: RenderPool) -> None:
    picture = noise(200, 100)

    [(_, _, made)] = await rendered(render_pool, encoded(picture, "PNG"), rendition("cover", "png"))

    assert made.tobytes() == picture.tobytes()


async def test_the_original_is_kept_byte_for_byte_in_its_place_among_the_others(render_pool: RenderPool) -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "the vendor's words", 6
    data = encoded(noise(320, 240), "WEBP", exif=exif)

    verified, [first, original, last] = await render_pool.render(
        data, [rendition("cover", "jpeg"), Original(name="as-it-came"), rendition("inside", "avif")]
    )

    assert original.data == data
    assert original.sha256 == hashlib.sha256(data).hexdigest()
    assert (original.name, original.format, original.mime, original.extension) == (
        "as-it-came",
        "webp",
        "image/webp",
        "webp",
    )
    assert (original.width_px, original.height_px) == (verified.width_px, verified.height_px) == (240, 320)
    assert [first.format, last.format] == ["jpeg", "avif"]
    assert first.extension == "jpg"


async def test_an_original_alone_is_verified_all_the_same(render_pool: RenderPool) -> None:
    data = encoded(noise(), "PNG")

    with pytest.raises(NotAnImage):
        await render_pool.render(data[:-20], [Original(name="original")])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("format_", "side_px", "quality"),
    [("jpeg", 6320, 90), ("jpeg", 6320, 100), ("webp", 6320, 100), ("avif", 3160, 100)],
)
async def test_the_largest_output_of_the_worst_picture_is_made_within_the_limits(
    format_: Format, side_px: int, quality: int
) -> None:
    pool = RenderPool(timeout_seconds=240)  # of a busy machine; the child's own limits are what is asked

    _, [output] = await pool.render(
        encoded(noise(2000, 2000), "PNG"), [rendition("cover", format_, side_px, side_px, quality)]
    )
    await pool.aclose()

    assert decoded(output.data).size == (side_px, side_px)


def bands(width_px: int, height_px: int) -> Image.Image:
    """Red, green, blue and black, from top to bottom."""
    picture = Image.new("RGB", (width_px, height_px))
    for n, colour in enumerate((RED, GREEN, BLUE)):
        picture.paste(colour, (0, n * height_px // 4, width_px, (n + 1) * height_px // 4))
    return picture


def near(picture: Image.Image, x: float, y: float, colour: tuple[int, int, int]) -> bool:
    """Whether the picture is opaque and has this colour there; coordinates are fractions of its sides."""
    *have, alpha = _pixel(picture, x, y)
    return alpha > 250 and all(abs(one - want) <= 24 for one, want in zip(have, colour, strict=True))


def is_background(picture: Image.Image, x: float, y: float, *, white: bool) -> bool:
    return near(picture, x, y, WHITE) if white else _pixel(picture, x, y)[3] < 5


def _pixel(picture: Image.Image, x: float, y: float) -> tuple[int, ...]:
    pixel = picture.convert("RGBA").getpixel((int(x * picture.width), int(y * picture.height)))
    assert isinstance(pixel, tuple)
    return tuple(map(int, pixel))


async def test_a_file_of_the_format_and_size_that_was_asked_for_is_kept_byte_for_byte_where_that_is_wanted(
    render_pool: RenderPool,
) -> None:
    data = encoded(noise(200, 100), "JPEG")
    as_it_is = [
        replace(rendition("cover", "jpeg"), keeps_original=True),
        replace(rendition("inside", "jpeg", 4096, 4096), keeps_original=True),
    ]
    made = [
        rendition("cover", "jpeg"),
        replace(rendition("cover", "png"), keeps_original=True),
        replace(rendition("cover", "jpeg", 100, 100), keeps_original=True),
    ]
    for want, output, picture in await rendered(render_pool, data, *as_it_is, *made):
        assert (output.data == data) == (want in as_it_is), want
        assert picture.size == ((100, 100) if want.width_px == want.height_px == 100 else (200, 100))
        assert output.sha256 == hashlib.sha256(output.data).hexdigest()
    _, kept = await render_pool.render(data, as_it_is)
    assert [each.data for each in kept] == [data, data]
