"""What the sandbox's fal sells: each endpoint's input, and what a megapixel costs.

Inputs are those of the endpoints' pages, such as https://fal.ai/models/fal-ai/flux/dev/api. Prices are micro-dollars
per megapixel, written down here a second time on purpose: the bill is to be an independent witness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NAMED_PX = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
DEFAULT_SIZE = "landscape_4_3"

_MEGAPIXEL = 1024 * 1024
_SIDE_PX = {"type": "integer", "ge": 64, "le": 2048}  # chosen: what can be drawn in a second
_ERRORS = "https://docs.fal.ai/errors/#"
_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool}

_COMMON = {
    "prompt": {"type": "string", "required": True},
    "seed": {"type": "integer"},
    "sync_mode": {"type": "boolean"},
    "num_images": {"type": "integer", "ge": 1, "le": 4},
    "enable_safety_checker": {"type": "boolean"},
    "output_format": {"type": "string", "enum": ("jpeg", "png")},
}
_SIZE = {"image_size": {"type": "size"}}
_OPEN_WEIGHTS = {
    "guidance_scale": {"type": "number", "ge": 1, "le": 20},
    "acceleration": {"type": "string", "enum": ("none", "regular", "high")},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`inputs` are rules by field."""

    megapixel_microusd: int
    inputs: Mapping[str, Mapping[str, Any]]


MODELS = {
    "fal-ai/flux/schnell": Model(
        megapixel_microusd=3_000,
        inputs={**_COMMON, **_SIZE, **_OPEN_WEIGHTS, "num_inference_steps": {"type": "integer", "ge": 1, "le": 12}},
    ),
    "fal-ai/flux/dev": Model(
        megapixel_microusd=25_000,
        inputs={**_COMMON, **_SIZE, **_OPEN_WEIGHTS, "num_inference_steps": {"type": "integer", "ge": 1, "le": 50}},
    ),
    "fal-ai/flux/dev/image-to-image": Model(
        megapixel_microusd=30_000,
        inputs={
            **_COMMON,
            **_OPEN_WEIGHTS,
            "image_url": {"type": "string", "required": True},
            "strength": {"type": "number", "ge": 0.01, "le": 1},
            "num_inference_steps": {"type": "integer", "ge": 10, "le": 50},
        },
    ),
    "fal-ai/flux-pro/v1.1": Model(
        megapixel_microusd=40_000,
        inputs={
            **_COMMON,
            **_SIZE,
            "safety_tolerance": {"type": "string", "enum": ("1", "2", "3", "4", "5", "6")},
            "enhance_prompt": {"type": "boolean"},
        },
    ),
}


def megapixels(width_px: int, height_px: int) -> int:
    """Of one picture, rounded up: what is counted as units. A picture of 1024 by 1024 is one."""
    return -(-width_px * height_px // _MEGAPIXEL)


def complaints(model: Model, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is wrong with an input, as the entries of an error's `detail`."""
    for name, rule in model.inputs.items():
        if rule.get("required") and name not in given:
            yield complaint(("body", name), "missing", "Field required", value=dict(given))
    for name, value in given.items():
        rule = model.inputs.get(name)
        if rule is None:
            yield complaint(("body", name), "extra_forbidden", "Extra inputs are not permitted", value=value)
        elif rule["type"] == "size":
            yield from _size_complaints(value)
        else:
            yield from _complaints(("body", name), value, rule)


def complaint(
    loc: tuple[str, ...], kind: str, message: str, *, value: Any, context: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    entry = {"loc": list(loc), "msg": message, "type": kind, "url": _ERRORS + kind, "input": value}
    return entry | ({"ctx": dict(context)} if context else {})


def _size_complaints(value: Any) -> Iterator[dict[str, Any]]:
    loc = ("body", "image_size")
    if isinstance(value, str):
        yield from _complaints(loc, value, {"type": "string", "enum": tuple(NAMED_PX)})
    elif not isinstance(value, dict):
        yield complaint(loc, "model_type", "Input should be a valid dictionary or a named size", value=value)
    else:
        for side in ("width", "height"):
            if side in value:
                yield from _complaints((*loc, side), value[side], _SIDE_PX)
            else:
                yield complaint((*loc, side), "missing", "Field required", value=value)


def _complaints(loc: tuple[str, ...], value: Any, rule: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    expected: str = rule["type"]
    if not isinstance(value, _TYPES[expected]) or (isinstance(value, bool) and expected != "boolean"):
        yield complaint(loc, f"{expected}_type", f"Input should be a valid {expected}", value=value)
    elif "enum" in rule and value not in rule["enum"]:
        choices = ", ".join(f"'{choice}'" for choice in rule["enum"])
        yield complaint(loc, "literal_error", f"Input should be {choices}", value=value, context={"expected": choices})
    elif "ge" in rule and value < rule["ge"]:
        message = f"Input should be greater than or equal to {rule['ge']}"
        yield complaint(loc, "greater_than_equal", message, value=value, context={"ge": rule["ge"]})
    elif "le" in rule and value > rule["le"]:
        message = f"Input should be less than or equal to {rule['le']}"
        yield complaint(loc, "less_than_equal", message, value=value, context={"le": rule["le"]})
