"""What a job keeps of every picture: which outputs can be made, and how they are ordered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from safelight.api.edge.pointer import pointer
from safelight.api.edge.problems import RequestFault
from safelight.api.schemas import NewOutput
from safelight.imaging.rendition import DEFAULT_QUALITY

_MAX_RENDERED_PIXELS = 40_000_000
"""Of all outputs of one image together: what a renderer does well within its time. Chosen."""
_AVIF_COUNTS = 4
"""A megapixel of AVIF takes as long as several of the other formats. Measured."""
_OF_A_RENDITION = ("width", "height", "fit", "quality")


def output_faults(outputs: Sequence[NewOutput]) -> list[RequestFault]:
    """What is wrong with outputs that are sound one field at a time."""
    faults = [
        RequestFault(pointer("outputs", n, "name"), f"`{output.name}` is the name of an output already.")
        for n, output in enumerate(outputs)
        if output.name in [other.name for other in outputs[:n]]
    ]
    for n, output in enumerate(outputs):
        faults += [RequestFault(pointer("outputs", n, field), why) for field, why in _mismatches(output)]
    if sum(map(_cost_pixels, outputs)) > _MAX_RENDERED_PIXELS:
        most = f"{_MAX_RENDERED_PIXELS // 1_000_000} megapixels"
        why = f"The outputs have more than {most} together, where one of AVIF counts as {_AVIF_COUNTS}."
        faults.append(RequestFault("/outputs", why, "unsupported-size"))
    return faults


def output_order(output: NewOutput) -> Mapping[str, Any]:
    """The output as the job's row holds it, complete."""
    if output.format == "original":
        return {"name": output.name, "format": "original"}
    return {
        "name": output.name,
        "width_px": output.width,
        "height_px": output.height,
        "fit": output.fit,
        "format": output.format,
        "quality": DEFAULT_QUALITY[output.format] if output.quality is None else output.quality,
    }


def _mismatches(output: NewOutput) -> Iterator[tuple[str, str]]:
    """Fields that do not go with the format, each with why."""
    if output.format == "original":
        for field in _OF_A_RENDITION:
            if field in output.model_fields_set and getattr(output, field) is not None:
                yield field, f"The original is kept as it came: it has no `{field}`."
        return
    for field in ("width", "height"):
        if getattr(output, field) is None:
            yield field, "Is required."
    if output.quality is not None and DEFAULT_QUALITY[output.format] is None:
        yield "quality", f"`{output.format}` is lossless: it has no `quality`."


def _cost_pixels(output: NewOutput) -> int:
    pixels = (output.width or 0) * (output.height or 0)
    return pixels * _AVIF_COUNTS if output.format == "avif" else pixels
