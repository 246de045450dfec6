"""What the sandbox's Replicate sells: each model's input, its output, and what a picture costs.

Inputs and versions are those of the models' pages, such as https://replicate.com/black-forest-labs/flux-schnell/api.
Prices are micro-dollars per picture, written down here a second time on purpose: the bill is to be an independent
witness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Pixels of a picture of one megapixel, as FLUX draws it.
RATIO_PX = {
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "21:9": (1536, 640),
    "3:2": (1216, 832),
    "2:3": (832, 1216),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
    "3:4": (896, 1152),
    "4:3": (1152, 896),
    "9:16": (768, 1344),
    "9:21": (640, 1536),
}
_PRO_RATIOS = ("custom", "1:1", "16:9", "3:2", "2:3", "4:5", "5:4", "9:16", "3:4", "4:3")

_PROMPT = {"type": "string", "description": "Prompt for generated image"}
_SEED = {"type": "integer", "description": "Random seed. Set for reproducible generation"}
_FORMAT = {"type": "string", "enum": ("webp", "jpg", "png"), "default": "webp"}
_QUALITY = {"type": "integer", "minimum": 0, "maximum": 100, "default": 80}
_IMAGE = {"type": "string", "format": "uri"}
_OPEN_WEIGHTS = {
    "aspect_ratio": {"type": "string", "enum": tuple(RATIO_PX), "default": "1:1"},
    "num_outputs": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
    "seed": _SEED,
    "output_format": _FORMAT,
    "output_quality": _QUALITY,
    "disable_safety_checker": {"type": "boolean", "default": False},
    "go_fast": {"type": "boolean", "default": True},
    "megapixels": {"type": "string", "enum": ("1", "0.25"), "default": "1"},
}
_JSON_TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`inputs` are JSON schemas by field; all but the prompt may be left out. `image` is the field of a reference,
    whose shape pictures get where `keeps_shape`."""

    version: str
    description: str
    picture_microusd: int
    inputs: Mapping[str, Mapping[str, Any]]
    image: str | None = None
    keeps_shape: bool = False
    gives_list: bool = True


MODELS = {
    "black-forest-labs/flux-schnell": Model(
        version="c846a69991daf4c0e5d016514849d14ee5b2e6846ce6b9d6f21369e564cfe51e",
        description="The fastest image generation model tailored for local development and personal use",
        picture_microusd=3_000,
        inputs={
            "prompt": _PROMPT,
            **_OPEN_WEIGHTS,
            "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 4, "default": 4},
        },
    ),
    "black-forest-labs/flux-dev": Model(
        version="93d72f81bd019dde2bfcba9585a6f74e600b13a43a96eb01a42da54f5ab4df6a",
        description="A 12 billion parameter rectified flow transformer capable of generating images from text",
        picture_microusd=25_000,
        inputs={
            "prompt": _PROMPT,
            **_OPEN_WEIGHTS,
            "image": _IMAGE,
            "prompt_strength": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.8},
            "num_inference_steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 28},
            "guidance": {"type": "number", "minimum": 0, "maximum": 10, "default": 3},
        },
        image="image",
        keeps_shape=True,
    ),
    "black-forest-labs/flux-1.1-pro": Model(
        version="a91bed9b0301d9d10b34b89b1f4d0255f2e2499c59576bfcd13405575dacdb25",
        description="Faster, better FLUX Pro. Text-to-image model with excellent image quality",
        picture_microusd=40_000,
        inputs={
            "prompt": _PROMPT,
            "image_prompt": _IMAGE,
            "aspect_ratio": {"type": "string", "enum": _PRO_RATIOS, "default": "1:1"},
            "width": {"type": "integer", "minimum": 256, "maximum": 1440},
            "height": {"type": "integer", "minimum": 256, "maximum": 1440},
            "safety_tolerance": {"type": "integer", "minimum": 1, "maximum": 6, "default": 2},
            "seed": _SEED,
            "prompt_upsampling": {"type": "boolean", "default": False},
            "output_format": _FORMAT,
            "output_quality": _QUALITY,
        },
        image="image_prompt",
        gives_list=False,
    ),
}


def complaints(model: Model, given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with an input: the field, or an empty text for the input as a whole, and why."""
    if "prompt" not in given:
        yield "", "prompt is required"
    for name in given.keys() - model.inputs.keys():
        yield "", f"Additional property {name} is not allowed"
    for name, value in given.items():
        if (schema := model.inputs.get(name)) and (wrong := _complaint(value, schema)):
            yield name, wrong


def openapi_schema(model: Model) -> dict[str, Any]:
    """As Cog writes it: a choice is a schema of its own, referred to by `allOf`."""
    properties: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for order, (name, schema) in enumerate(model.inputs.items()):
        if "enum" in schema:
            schemas[name] = {
                "enum": list(schema["enum"]),
                "type": "string",
                "title": name,
                "description": "An enumeration.",
            }
            properties[name] = {"allOf": [{"$ref": f"#/components/schemas/{name}"}], "default": schema["default"]}
        else:
            properties[name] = {**schema, "title": name.replace("_", " ").title()}
        properties[name]["x-order"] = order
    one = {"type": "string", "format": "uri"}
    output = {"type": "array", "items": one} if model.gives_list else one
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "paths": {},
        "components": {
            "schemas": {
                "Input": {"type": "object", "title": "Input", "required": ["prompt"], "properties": properties},
                "Output": {**output, "title": "Output"},
                **schemas,
            }
        },
    }


def _complaint(value: Any, schema: Mapping[str, Any]) -> str | None:
    expected: str = schema["type"]
    is_bool = isinstance(value, bool)
    if not isinstance(value, _JSON_TYPES[expected]) or (is_bool and expected != "boolean"):
        return f"Invalid type. Expected: {expected}, given: {_json_type(value)}"
    if "enum" in schema and value not in schema["enum"]:
        return f"Must be one of the following: {', '.join(schema['enum'])}"
    if "minimum" in schema and value < schema["minimum"]:
        return f"Must be greater than or equal to {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        return f"Must be less than or equal to {schema['maximum']}"
    if schema.get("format") == "uri" and not str(value).startswith(("https://", "http://", "data:")):
        return "Does not match format 'uri'"
    return None


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")
