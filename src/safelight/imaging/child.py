"""The process that touches pixels: `python -m safelight.imaging.child`.

It reads one request after the other from stdin and answers on stdout until stdin ends, so that it does not
outlive its parent. Before a stranger's first byte is read it gives up what a decoder's bug could use: it can
open no file and no socket, write no file, and take no more memory and processor time than a picture needs.

An unforeseen failure ends the process: its parent sees that, and starts a fresh one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import resource
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any, BinaryIO

import pyvips
from pyvips.voperation import concurrency_set

from safelight.imaging import frame
from safelight.imaging.container import MIME, Format, sniff
from safelight.imaging.rendition import NotAnImage, Rendered, Rendition, Verified

MAX_PIXELS = 40_000_000
MAX_MEMORY_BYTES = 2 << 30
MAX_CPU_SECONDS_PER_JOB = 60

_LOADERS = {
    "png": pyvips.Image.pngload_buffer,
    "jpeg": pyvips.Image.jpegload_buffer,
    "webp": pyvips.Image.webpload_buffer,
    "avif": pyvips.Image.heifload_buffer,
}
_ALLOWED_LOADERS = ("VipsForeignLoadPng", "VipsForeignLoadJpeg", "VipsForeignLoadWebp", "VipsForeignLoadHeif")
_WHITE = [255.0]


def main() -> None:
    # The parent decides when this process ends; a signal to the whole group must not cut a picture in two.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.disable()  # libvips warns about strangers' files in strangers' words
    requests, replies = _take_pipes()
    _tame_vips()
    _drop_rights()
    while (request := frame.read(requests)) is not None:
        _allow_cpu_for_one_job()
        replies.writelines(frame.encode(*_answer(*request)))
        replies.flush()


def examine(data: bytes, renditions: list[Rendition]) -> tuple[Verified, list[Rendered]]:
    """Decodes every row once, then renders from memory. Raises NotAnImage."""
    format_ = sniff(data)
    picture = _decode(data, format_)
    verified = Verified(mime=MIME[format_], width_px=picture.width, height_px=picture.height, frames=1)
    if not renditions:
        return verified, []
    flat = _to_srgb(picture)
    return verified, [_render(flat, rendition) for rendition in renditions]


def _decode(data: bytes, format_: Format) -> pyvips.Image:
    """The picture in memory, upright. The header alone decides whether it is decoded at all."""
    try:
        # `error` includes truncation; the default paints missing rows grey and succeeds. Without `memory` a
        # large picture is unpacked to a temporary file, which this process may not write.
        lazy = _LOADERS[format_](data, fail_on="error", access="sequential", memory=True)
        if lazy.width * lazy.height > MAX_PIXELS:
            size = f"{lazy.width} × {lazy.height} px"
            raise NotAnImage("too-large", f"{size} is more than {MAX_PIXELS // 1_000_000} megapixels")
        if "n-pages" in lazy.get_fields() and lazy.get("n-pages") != 1:
            raise NotAnImage("animated", f"the picture has {lazy.get('n-pages')} frames")
        return lazy.copy_memory().autorot()
    except pyvips.Error as error:
        detail = (error.detail or "").partition("\n")[0][:200]
        raise NotAnImage("truncated", f"the {format_} data is cut short or damaged ({detail})") from error


def _to_srgb(picture: pyvips.Image) -> pyvips.Image:
    """Three bands of 8-bit sRGB; transparency becomes white."""
    if picture.get_typeof("icc-profile-data"):
        with suppress(pyvips.Error):  # a profile that cannot be read changes colours, not content
            picture = picture.icc_transform("srgb", embedded=True, intent="perceptual")
    picture = picture.colourspace("srgb").cast("uchar")
    if picture.hasalpha():
        picture = picture.flatten(background=_WHITE)
    return picture.copy_memory()


def _render(picture: pyvips.Image, rendition: Rendition) -> Rendered:
    # Cropping first bounds the work for any proportion: 1 × 40 000 000 px are never scaled as a whole.
    scale = max(rendition.width_px / picture.width, rendition.height_px / picture.height)
    crop_width_px = min(picture.width, max(1, round(rendition.width_px / scale)))
    crop_height_px = min(picture.height, max(1, round(rendition.height_px / scale)))
    cropped = picture.crop(
        (picture.width - crop_width_px) // 2,
        (picture.height - crop_height_px) // 2,
        crop_width_px,
        crop_height_px,
    )
    resized = cropped.thumbnail_image(rendition.width_px, height=rendition.height_px, size="force")
    data = resized.jpegsave_buffer(
        Q=rendition.quality,
        keep=pyvips.enums.ForeignKeep.NONE,
        optimize_coding=True,
        interlace=True,
        trellis_quant=True,
        overshoot_deringing=True,
        optimize_scans=True,
        quant_table=3,
    )
    return Rendered(
        name=rendition.name,
        data=data,
        width_px=resized.width,
        height_px=resized.height,
        format=rendition.format,
        mime=MIME[rendition.format],
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _answer(header: dict[str, Any], body: bytes) -> frame.Frame:
    try:
        verified, rendered = examine(body, [Rendition(**fields) for fields in header["renditions"]])
    except NotAnImage as refusal:
        return {"refused": {"code": refusal.code, "message": refusal.message}}, b""
    outputs = [asdict(one) for one in rendered]
    bodies = [output.pop("data") for output in outputs]
    for output, data in zip(outputs, bodies, strict=True):
        output["length"] = len(data)
    return {"verified": asdict(verified), "rendered": outputs}, b"".join(bodies)


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keeps stdout to ourselves, so that a library which prints cannot break a frame."""
    replies = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return sys.stdin.buffer, os.fdopen(replies, "wb")


def _tame_vips() -> None:
    concurrency_set(1)
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)
    pyvips.operation_block_set("VipsForeignLoad", True)
    for loader in _ALLOWED_LOADERS:
        pyvips.operation_block_set(loader, False)


def _drop_rights() -> None:
    lowest_free_fd = os.dup(0)
    os.close(lowest_free_fd)
    for limit, bound in (
        (resource.RLIMIT_NOFILE, lowest_free_fd),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (bound, bound))
    if sys.platform == "linux":  # macOS maps more than this before the first line runs
        bound = _at_most_inherited(resource.RLIMIT_AS, MAX_MEMORY_BYTES)
        resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def _allow_cpu_for_one_job() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    bound = int(time.process_time()) + MAX_CPU_SECONDS_PER_JOB
    resource.setrlimit(resource.RLIMIT_CPU, (_at_most_inherited(resource.RLIMIT_CPU, bound), hard))


def _at_most_inherited(limit: int, bound: int) -> int:
    _, hard = resource.getrlimit(limit)
    return bound if hard == resource.RLIM_INFINITY else min(bound, hard)


if __name__ == "__main__":
    main()
