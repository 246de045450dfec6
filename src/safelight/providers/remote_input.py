"""What goes into a remote job: the vendor's own fields, by the names that the model data gives them.

The names that a model's `fields` may give, in the model data and in the operator's own (a vendor's adapter may read
more of them):

    prompt, seed, negative_prompt, quality          the option's field, if it is not called so
    count                                           the field for the number of pictures, which is sent as 1
    image, or images                                the field for one reference picture, or for a list of them
    mask                                            the field for the mask
    width, height                                   the fields for a size
    input                                           fields that are sent with every request, with their values
    seeded_input                                    the same, for requests with a seed
"""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from PIL import Image, ImageOps

from safelight.providers.failures import refused_here
from safelight.providers.models import Model, ModelTable
from safelight.providers.provider import ImageRequest, InputRole
from safelight.providers.registry import InvalidConfiguration

_MASK_MAX_PIXELS = 64_000_000


class Pixels(NamedTuple):
    width: int | None
    height: int | None


async def model_input(request: ImageRequest, model: Model) -> dict[str, Any]:
    """The vendor's fields for all that is asked but the shape of the picture.

    Raises ProviderError (PERMANENT, billed no) for a mask that cannot be read.
    """
    fields = model.fields
    body: dict[str, Any] = {**fields.get("input", {}), _name(model, "prompt"): request.prompt}
    if request.seed is not None:
        body |= {**fields.get("seeded_input", {}), _name(model, "seed"): request.seed}
    if request.negative_prompt is not None:
        body[_name(model, "negative_prompt")] = request.negative_prompt
    if request.quality is not None:
        body[_name(model, "quality")] = request.quality
    if "count" in fields:
        body[fields["count"]] = 1
    references = [given for given in request.inputs if given.role is InputRole.REFERENCE]
    if references:
        addresses = [_data_uri(given.mime, given.data) for given in references]
        body |= {fields["images"]: addresses} if "images" in fields else {fields["image"]: addresses[0]}
    for given in request.inputs:
        if given.role is InputRole.MASK:
            body[fields["mask"]] = _data_uri("image/png", await asyncio.to_thread(_painted, given.data))
    return body


def requested_pixels(request: ImageRequest, model: Model) -> Pixels:
    """Of the size that is asked for, or that the model data has for the ratio."""
    width, _, height = (request.size or model.sizes_by_ratio.get(request.aspect_ratio or "", "")).partition("x")
    return Pixels(int(width), int(height)) if width.isdecimal() and height.isdecimal() else Pixels(None, None)


def remote_models(name: str, table: ModelTable) -> ModelTable:
    """The same models, each of them a remote job, whether or not its entry says so.

    Raises InvalidConfiguration for one whose `fields` lack a name that it needs, or hold something else where a name
    belongs.
    """
    for model in table.models.values():
        problem = _trouble_with_fields(model)
        if problem is not None:
            raise InvalidConfiguration(f"provider `{name}`: model `{model.id}`: {problem}")
    models = {
        model.id: replace(model, capabilities=replace(model.capabilities, remote_job=True))
        for model in table.models.values()
    }
    return replace(table, models=MappingProxyType(models))


def _trouble_with_fields(model: Model) -> str | None:
    can, fields = model.capabilities, model.fields
    for table in ("input", "seeded_input", "size_names"):
        if not isinstance(fields.get(table, {}), dict):
            return f"fields.{table} must be a table"
    for name in _FIELD_NAMES:
        if name in fields and not (isinstance(fields[name], str) and fields[name]):
            return f"fields.{name} must be the name of a field"
    if can.max_references > 0 and not fields.keys() & {"image", "images"}:
        return "it takes reference pictures, and neither fields.image nor fields.images says where"
    if can.max_references > 1 and "images" not in fields:
        return "it takes several reference pictures, and fields.images does not say where"
    if can.mask and "mask" not in fields:
        return "it takes a mask, and fields.mask does not say where"
    return None


_FIELD_NAMES = (
    "prompt",
    "seed",
    "negative_prompt",
    "quality",
    "aspect_ratio",
    "count",
    "image",
    "images",
    "mask",
    "width",
    "height",
    "size",
    "version",
)


def _name(model: Model, option: str) -> str:
    return model.fields.get(option, option)


def _data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode('ascii')}"


def _painted(mask: bytes) -> bytes:
    """White where the picture may be changed and black elsewhere: ours is transparent there, and both vendors'
    inpainting models want it painted."""
    try:
        with Image.open(io.BytesIO(mask), formats=("PNG",)) as opened:
            if opened.width * opened.height > _MASK_MAX_PIXELS:
                raise refused_here("INVALID_MASK", "the mask has too many pixels")
            alpha = opened.convert("RGBA").getchannel("A")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise refused_here("INVALID_MASK", "the mask is not a PNG that can be read") from error
    painted = io.BytesIO()
    ImageOps.invert(alpha).save(painted, "PNG")
    return painted.getvalue()
