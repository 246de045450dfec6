"""From a stranger's bytes to finished outputs: one full decode, then every rendition from its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import assert_never

import pyvips

from safelight.imaging.container import sniff
from safelight.imaging.rendition import MIME, Format, NotAnImage, Rendered, Rendition, Verified

MAX_PIXELS = 40_000_000

_LOADERS = {
    "png": pyvips.Image.pngload_buffer,
    "jpeg": pyvips.Image.jpegload_buffer,
    "webp": pyvips.Image.webpload_buffer,
    "avif": pyvips.Image.heifload_buffer,
}
_WHITE = 255.0
_TRANSPARENT = [0.0, 0.0, 0.0, 0.0]
_PX_PER_MM = 72 / 25.4
_NO_METADATA = pyvips.enums.ForeignKeep.NONE
_TRELLIS_MAX_QUALITY = 90
"""Above, trellis quantisation saves next to nothing, and takes 2 s for a megapixel of noise. Measured."""
_AVIF_EFFORT = 3
"""A quarter of the time that the next step takes, for 15–30 % more bytes. Measured."""

_VIPS_FAILS = (pyvips.Error, UnicodeDecodeError)
"""Its message may quote the file, and the binding takes it for UTF-8."""
_OPENING_TAKES_BYTES = 4 * MAX_PIXELS
"""At most: for a WebP its loader makes room for all of the pixels."""
_DECODER_TAKES: Mapping[Format, tuple[int, int]] = {"png": (4, 8), "jpeg": (4, 8), "webp": (7, 14), "avif": (7, 10)}
"""Memory that decoding a picture takes at most, in bytes for each sample of its pixels: of 8 bits, and of more.
Measured at 40 megapixels; so much a process has."""

Size = tuple[int, int]


def examine(data: bytes, renditions: Sequence[Rendition]) -> tuple[Verified, list[Rendered]]:
    """Decodes every row once, then renders from memory. Raises NotAnImage, and MemoryError when nothing is known."""
    format_ = sniff(data)
    header = _open(data, format_)
    verified, size = _verified(header, format_)
    shrink = _shrink(size, renditions) if format_ == "jpeg" else 1
    picture = _decoded(header if shrink == 1 else _open(data, format_, shrink=shrink), format_, size)
    del header  # it holds what it was decoded from: of an interlaced PNG all pixels, a second time
    if not renditions:
        return verified, []
    if all(_is_it(format_, size, rendition) for rendition in renditions):
        return verified, [_kept(data, size, rendition) for rendition in renditions]
    upright = _to_srgb(picture)
    return verified, [
        _kept(data, size, rendition) if _is_it(format_, size, rendition) else _render(upright, size, rendition)
        for rendition in renditions
    ]


def pixels_of(data: bytes) -> tuple[Verified, pyvips.Image]:
    """The whole picture, upright and in sRGB; with a fourth band where something is transparent. Raises as `examine`
    does."""
    format_ = sniff(data)
    header = _open(data, format_)
    verified, size = _verified(header, format_)
    picture = _decoded(header, format_, size)
    del header  # as in `examine`
    return verified, _to_srgb(picture)


def encoded(picture: pyvips.Image, format_: Format, quality: int | None) -> bytes:
    """A file of these pixels and nothing else."""
    # Formats write the resolution down although they are to keep nothing: the same one for every picture.
    return _encoded(picture.copy(xres=_PX_PER_MM, yres=_PX_PER_MM), format_, quality)


def _open(data: bytes, format_: Format, **options: int) -> pyvips.Image:
    """The picture before its pixels are decoded: its header alone decides whether they are. Raises as
    `examine` does."""
    try:
        # `error` includes truncation; the default paints missing rows grey and succeeds. Without `memory` a
        # large picture is unpacked to a temporary file, which this process may not write.
        header = _LOADERS[format_](data, fail_on="error", access="sequential", memory=True, **options)
    except _VIPS_FAILS as error:
        _check_memory(_OPENING_TAKES_BYTES)
        raise _damaged(format_, error) from error
    if header.width * header.height > MAX_PIXELS:
        size = f"{header.width} × {header.height} px"
        raise NotAnImage("too-large", f"{size} is more than {MAX_PIXELS // 1_000_000} megapixels")
    if header.get_typeof("n-pages") and header.get("n-pages") != 1:
        raise NotAnImage("animated", f"the picture has {header.get('n-pages')} frames")
    return header


def _verified(header: pyvips.Image, format_: Format) -> tuple[Verified, Size]:
    size = _size_shown(header)
    return Verified(mime=MIME[format_], width_px=size[0], height_px=size[1], frames=1), size


def _size_shown(header: pyvips.Image) -> Size:
    upright = header.autorot() if _is_turned(header) else header
    return upright.width, upright.height


def _is_turned(picture: pyvips.Image) -> bool:
    return bool(picture.get_typeof("orientation") and picture.get("orientation") != 1)


def _shrink(size: Size, renditions: Sequence[Rendition]) -> int:
    """How much smaller a JPEG may be decoded. All of its data is read all the same, and so is known to be whole.

    Every rendition is still made from at least twice its own size, so that the resampling decides how it looks.
    """
    if not renditions:
        return 1
    scale = max(_scale(size, rendition) for rendition in renditions)
    return next((shrink for shrink in (8, 4, 2) if scale * shrink * 2 <= 1), 1)


def _decoded(header: pyvips.Image, format_: Format, size: Size) -> pyvips.Image:
    """All of its pixels in memory, as they are stored. `size` is the whole picture's, however small it is decoded."""
    try:
        return header.copy_memory()
    except _VIPS_FAILS as error:
        sample_bytes = _DECODER_TAKES[format_][header.format == "ushort"]
        _check_memory(sample_bytes * size[0] * size[1] * header.bands)
        raise _damaged(format_, error) from error


def _check_memory(length: int) -> None:
    """Raises MemoryError where there is not so much: of a decoder that ran out of it we hear what we hear of a damaged
    file."""
    bytes(length)  # zeros that nobody looks at: asked for, and never touched


def _damaged(format_: Format, error: pyvips.Error | UnicodeDecodeError) -> NotAnImage:
    if isinstance(error, UnicodeDecodeError):
        pyvips.vips_lib.vips_error_clear()  # or it would stand in the next picture's message too
        return NotAnImage("truncated", f"the {format_} data is damaged")
    detail = (error.detail or "").partition("\n")[0][:200]
    return NotAnImage("truncated", f"the {format_} data is cut short or damaged ({detail})")


def _to_srgb(picture: pyvips.Image) -> pyvips.Image:
    """Upright, in memory, 8 bits of sRGB; with a fourth band only where something is transparent."""
    converted = picture
    if _is_turned(picture):
        converted = converted.autorot()
    if picture.get_typeof("icc-profile-data"):
        with suppress(pyvips.Error):  # a profile that cannot be read changes colours, not content
            converted = converted.icc_transform("srgb", embedded=True, intent="perceptual")
    if (converted.interpretation, converted.format) != ("srgb", "uchar"):
        converted = converted.colourspace("srgb").cast("uchar")
    if converted is not picture:
        converted = converted.copy_memory()
    if converted.hasalpha() and converted[3].min() == _WHITE:
        converted = converted[:3].copy_memory()
    return converted


def _is_it(format_: Format, size: Size, rendition: Rendition) -> bool:
    """Whether the file as it came is the output that was asked for."""
    if not rendition.keeps_original or format_ != rendition.format:
        return False
    box = rendition.width_px, rendition.height_px
    return size == box if rendition.fit != "inside" else size[0] <= box[0] and size[1] <= box[1]


def _kept(data: bytes, size: Size, rendition: Rendition) -> Rendered:
    return Rendered(
        name=rendition.name,
        data=data,
        width_px=size[0],
        height_px=size[1],
        format=rendition.format,
        mime=MIME[rendition.format],
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _render(picture: pyvips.Image, size: Size, rendition: Rendition) -> Rendered:
    """`size` is the picture's own, though it may have been decoded smaller."""
    if rendition.fit == "cover":
        fitted = _resized(_cropped(picture, rendition), (rendition.width_px, rendition.height_px))
    else:
        fitted = _resized(picture, _fitting(size, rendition))
    if rendition.fit == "contain":
        fitted = _padded(fitted, rendition)
    data = encoded(fitted, rendition.format, rendition.quality)
    return Rendered(
        name=rendition.name,
        data=data,
        width_px=fitted.width,
        height_px=fitted.height,
        format=rendition.format,
        mime=MIME[rendition.format],
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _scale(size: Size, rendition: Rendition) -> float:
    """The rendition's sides over the picture's."""
    scales = rendition.width_px / size[0], rendition.height_px / size[1]
    match rendition.fit:
        case "cover":
            return max(scales)
        case "contain":
            return min(scales)
        case "inside":
            return min(*scales, 1.0)
        case never:
            assert_never(never)


def _fitting(size: Size, rendition: Rendition) -> Size:
    """The size at which all of the picture is in the box."""
    scale = _scale(size, rendition)
    width_px, height_px = (max(1, round(side_px * scale)) for side_px in size)
    return min(width_px, rendition.width_px), min(height_px, rendition.height_px)


def _cropped(picture: pyvips.Image, rendition: Rendition) -> pyvips.Image:
    """The middle, in the box's proportions. Cut first, 1 × 40 000 000 px are never scaled up as a whole."""
    scale = _scale((picture.width, picture.height), rendition)
    width_px = min(picture.width, max(1, round(rendition.width_px / scale)))
    height_px = min(picture.height, max(1, round(rendition.height_px / scale)))
    left_px, top_px = (picture.width - width_px) // 2, (picture.height - height_px) // 2
    return picture.crop(left_px, top_px, width_px, height_px)


def _resized(picture: pyvips.Image, size: Size) -> pyvips.Image:
    """What is transparent has no say in the colours around it."""
    if (picture.width, picture.height) == size:
        return picture
    return picture.thumbnail_image(size[0], height=size[1], size="force")


def _padded(picture: pyvips.Image, rendition: Rendition) -> pyvips.Image:
    if (picture.width, picture.height) == (rendition.width_px, rendition.height_px):
        return picture
    if rendition.format != "jpeg" and not picture.hasalpha():
        picture = picture.addalpha()
    return picture.embed(
        (rendition.width_px - picture.width) // 2,
        (rendition.height_px - picture.height) // 2,
        rendition.width_px,
        rendition.height_px,
        extend="background",
        background=_TRANSPARENT if picture.hasalpha() else [_WHITE],
    )


def _encoded(picture: pyvips.Image, format_: Format, quality: int | None) -> bytes:
    if format_ == "png":
        return picture.pngsave_buffer(filter=pyvips.enums.ForeignPngFilter.ALL, keep=_NO_METADATA)
    assert quality is not None
    match format_:
        case "jpeg":
            opaque = picture.flatten(background=[_WHITE]) if picture.hasalpha() else picture
            return opaque.jpegsave_buffer(
                Q=quality,
                keep=_NO_METADATA,
                optimize_coding=True,
                interlace=True,
                trellis_quant=quality <= _TRELLIS_MAX_QUALITY,
                overshoot_deringing=True,
                optimize_scans=True,
                quant_table=3,
            )
        case "webp":
            return picture.webpsave_buffer(Q=quality, keep=_NO_METADATA)
        case "avif":
            return picture.heifsave_buffer(
                Q=quality, compression="av1", bitdepth=8, effort=_AVIF_EFFORT, keep=_NO_METADATA
            )
        case never:
            assert_never(never)
