"""From a request in OpenAI's form to a job's body, and from the faults of that back to the request's own names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from safelight.api.edge.faults import refused
from safelight.api.edge.problems import RequestFault
from safelight.api.openai.models import ModelNames, Named
from safelight.api.schemas.openai import ImageGeneration
from safelight.domain.errors import Fault, InvalidRequest

OUTPUT = "image"
"""The one output of such a job."""

_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)
_LARGEST_BOX_PX = 4096
"""Of a picture whose size is left to the model: more than any makes. Chosen."""
_MOST_OFF = Fraction(2, 100)
"""How far a size's proportions may be from those that the model makes: what is cut off is less than shows. Chosen."""
_VENDORS_CHOICE = ("auto", "standard")
_PARAMS = {
    "prompt": "prompt",
    "count": "n",
    "size": "size",
    "aspect_ratio": "size",
    "quality": "quality",
    "provider": "model",
    "model": "model",
    "seed": "seed",
    "negative_prompt": "negative_prompt",
    "references": "image",
    "mask": "mask",
}
"""By the field of an image in a job's body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for. `size` is exact, and None where it is left to the model; so is `quality`. `model` is a fault
    where there is no such model: that matters to a new job only."""

    model: Named | RequestFault
    count: int
    size: str | None
    quality: str | None
    format: Literal["png", "jpeg", "webp"]
    compression: int
    is_url: bool
    is_opaque: bool


def without_nulls(document: Mapping[str, Any]) -> dict[str, Any]:
    """A null says nothing: a request with one is the same as without."""
    return {name: value for name, value in document.items() if value is not None}


def read_asked(request: ImageGeneration, names: ModelNames) -> Asked:
    """Raises InvalidRequest for what goes together with nothing."""
    format_ = request.output_format or "png"
    faults: list[Fault] = []
    if request.background == "opaque" and format_ != "jpeg":
        why = "Whether a PNG or WebP is opaque is left to the model here; leave it out, or ask for JPEG."
        faults.append(RequestFault("/background", why, "unsupported-option"))
    if format_ == "png" and request.output_compression not in (None, 100):
        why = "PNG is lossless: it has no compression below 100."
        faults.append(RequestFault("/output_compression", why, "unsupported-option"))
    if faults:
        raise refused(faults)
    return Asked(
        model=names.find(request.model),
        count=request.n or 1,
        size=None if request.size in (None, "auto") else request.size,
        quality=None if request.quality in (None, *_VENDORS_CHOICE) else request.quality,
        format=format_,
        compression=100 if request.output_compression is None else max(request.output_compression, 1),
        is_url=request.response_format == "url",
        is_opaque=request.background == "opaque" or format_ == "jpeg",
    )


def model_of(asked: Asked) -> Named:
    """Raises InvalidRequest (`unknown-model`)."""
    if isinstance(asked.model, RequestFault):
        raise refused([asked.model])
    return asked.model


def job_body(
    request: ImageGeneration, asked: Asked, model: Named, *, wait_seconds: float, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of the job. `inputs` are the image's references and its mask. Raises InvalidRequest for a size that the
    model cannot make."""
    image = {
        "id": "image",
        "prompt": request.prompt,
        "count": asked.count,
        "provider": model.provider,
        "model": model.model,
        "quality": asked.quality,
        "seed": request.seed,
        "negative_prompt": request.negative_prompt,
        **_shape(asked.size, model),
        **inputs,
    }
    metadata = {"via": "openai", "user": request.user, "safety_identifier": request.safety_identifier}
    return {
        "images": [without_nulls(image)],
        "outputs": [_output(asked)],
        "deadline_seconds": wait_seconds,
        "on_deadline": "fail",
        "metadata": {name: value for name, value in metadata.items() if value},
    }


def in_its_words(refusal: InvalidRequest) -> InvalidRequest:
    """A refusal of the job's body as one of the request that it was made of."""
    return refused([_in_its_words(each) for each in refusal.faults]) if refusal.faults else refusal


def _shape(size: str | None, model: Named) -> dict[str, str]:
    """The size itself, or the aspect ratio that is nearest to it and near enough: the picture is then made to fit."""
    if size is None:
        return {}
    if model.can.takes_size(size):
        return {"size": size}
    found = _SIZE.fullmatch(size)
    wanted = Fraction(int(found[1]), int(found[2])) if found else None
    ratios = {each: _fraction(each) for each in model.can.aspect_ratios or ()}
    off = {each: abs(ratio / wanted - 1) for each, ratio in ratios.items() if ratio and wanted}
    nearest = min(off, key=lambda each: off[each], default=None)
    if nearest is not None and off[nearest] <= _MOST_OFF:
        return {"aspect_ratio": nearest}
    raise refused([RequestFault("/size", _why_not(model, ratios), "unsupported-size")])


def _why_not(model: Named, ratios: Iterable[str]) -> str:
    offers = [f"`{each}`" for each in sorted(model.can.sizes or ())] + [f"sizes of {each}" for each in sorted(ratios)]
    return f"`{model.model}` does not make this size; it has {', '.join(['`auto`', *offers])}."


def _fraction(ratio: str) -> Fraction | None:
    width, _, height = ratio.partition(":")
    if width.isdecimal() and height.isdecimal() and int(width) and int(height):
        return Fraction(int(width), int(height))
    return None


def _output(asked: Asked) -> dict[str, Any]:
    sides = _SIZE.fullmatch(asked.size) if asked.size is not None else None
    width_px, height_px = (int(sides[1]), int(sides[2])) if sides else (_LARGEST_BOX_PX, _LARGEST_BOX_PX)
    return {
        "name": OUTPUT,
        "width": width_px,
        "height": height_px,
        "fit": "cover" if sides else "inside",
        "format": asked.format,
        **({} if asked.format == "png" else {"quality": asked.compression}),
    }


def _in_its_words(fault: Fault) -> RequestFault:
    slug = fault.slug if isinstance(fault, RequestFault) else "validation-error"
    parts = fault.pointer.split("/")
    if parts[1:2] == ["outputs"]:
        return RequestFault("/size", fault.detail, slug)
    field = next((each for each in parts if each in _PARAMS), "")
    return RequestFault(f"/{_PARAMS.get(field, field)}", fault.detail, slug)
