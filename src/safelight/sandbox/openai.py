"""OpenAI's images wire: generations and edits in, pictures and errors out.

POST /v1/images/generations   JSON             `read_generation`
POST /v1/images/edits         multipart form   `read_edit`
GET  /v1/models, /v1/models/{model}
"""

from __future__ import annotations

import asyncio
import base64
import io
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from PIL import Image
from starlette.requests import Request
from starlette.routing import Route

from safelight.sandbox.desk import Desk, key_of, origin_of
from safelight.sandbox.faults import CHARGES_PICTURE, COMMON, Directive, Fault
from safelight.sandbox.files import Files
from safelight.sandbox.forms import Part, read_form
from safelight.sandbox.openai_models import (
    MODELS,
    STANDARD_SIZES,
    Model,
    Usage,
    cost_microusd,
    size_px,
    usage_of,
)
from safelight.sandbox.pictures import Pictures, Sort
from safelight.sandbox.protocol import Rejected
from safelight.sandbox.spoiling import bad_gateway, decoy, retry_after, spoilt
from safelight.sandbox.vendor import Call, sha256
from safelight.sandbox.wire import Answer

_MOST_PICTURES = 10
_MOST_REFERENCES = 16
_LONGEST_PROMPT = 32_000
_MOST_IMAGE_BYTES = 50_000_000
_MOST_MASK_BYTES = 4_000_000
_FORMS = {"png": "image/png", "webp": "image/webp", "jpeg": "image/jpeg"}
_INTEGER_FORM = re.compile(r"[0-9]{1,9}")
_BACKGROUNDS = ("auto", "opaque", "transparent")

FAULTS = COMMON | {
    Fault.RATE_LIMIT_MS,
    Fault.RATE_LIMIT_DATE,
    Fault.REQUEST_TIMEOUT,
    Fault.CONFLICT,
    Fault.BILLING_LIMIT,
    Fault.REFUSE,
    Fault.EMPTY,
    Fault.NO_PICTURES,
    Fault.ERROR_TEXT,
    Fault.ERROR_DETAIL,
    Fault.AS_URL,
    Fault.AS_RELATIVE_URL,
    Fault.EMPTY_URL,
    Fault.NO_USAGE,
    Fault.NO_OUTPUT_DETAILS,
}
"""`refuse` is free here, and its reasons are the codes in capitals: MODERATION_BLOCKED, CONTENT_POLICY_VIOLATION."""


class OpenAIWire:
    name = "openai"
    base_path = "/v1"
    faults = FAULTS
    reasons: Mapping[Fault, str] = {Fault.REFUSE: "MODERATION_BLOCKED"}

    def routes(self, desk: Desk) -> list[Route]:
        files = desk.vendor.files
        generations = desk.sale(self, partial(read_generation, files=files))
        edits = desk.sale(self, partial(read_edit, files=files))
        return [
            Route("/v1/images/generations", generations, methods=["POST"]),
            Route("/v1/images/edits", edits, methods=["POST"]),
            Route("/v1/models", desk.visit(self, _list_models), methods=["GET"]),
            Route("/v1/models/{model}", desk.visit(self, _show_model), methods=["GET"]),
        ]

    def error(self, directive: Directive, *, model: str) -> Answer | None:
        return _error_answer(directive, model_id=model)

    def invalid(self, message: str) -> Rejected:
        return _invalid("invalid_value", message, param="prompt")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIOrder:
    """A request the vendor accepts: `count` pictures of one sort. `origin` is the sandbox's own address."""

    model_id: str
    model: Model
    prompt: str
    count: int
    quality: str
    sort: Sort
    reference_count: int
    origin: str
    files: Files

    def cost_microusd(self, fault: Fault) -> int:
        return cost_microusd(self.model, self.usage) if fault in CHARGES_PICTURE else 0

    @property
    def usage(self) -> Usage:
        return usage_of(
            self.prompt,
            width_px=self.sort.width_px,
            height_px=self.sort.height_px,
            quality=self.quality,
            pictures=self.count,
            references=self.reference_count,
        )

    async def prepare(self, directive: Directive, pictures: Pictures) -> Callable[[], Answer]:
        if directive.fault not in CHARGES_PICTURE:
            return partial(_without_picture, self, directive)
        # A comment can be hidden in a PNG only.
        sort = replace(self.sort, form="png") if directive.fault is Fault.TEXT_BOMB else self.sort
        prompts = [self.prompt, *(f"{self.prompt}, take {number}" for number in range(2, self.count + 1))]
        drawn = await asyncio.gather(*(pictures.encoded(prompt, sort) for prompt in prompts))
        return partial(_with_pictures, self, directive, drawn)


async def read_generation(request: Request, call: Call, *, files: Files) -> OpenAIOrder:
    """Raises Rejected."""
    _check_key(request)
    try:
        fields = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        raise _invalid(None, "We could not parse the JSON body of your request.") from None
    if not isinstance(fields, dict):
        raise _invalid(None, "The JSON body of your request is not an object.")
    return _Reader(call, fields).order(origin=origin_of(request), files=files)


async def read_edit(request: Request, call: Call, *, files: Files) -> OpenAIOrder:
    """Raises Rejected."""
    _check_key(request)
    try:
        parts = read_form(await request.body(), request.headers.get("content-type", ""))
    except ValueError as error:
        raise _invalid(None, f"Could not parse the body of your request: {error}.") from None
    images = [part for part in parts if part.name in ("image", "image[]")]
    masks = [part for part in parts if part.name == "mask"]
    call.references_sha256 = tuple(sha256(part.content) for part in images)
    call.mask_sha256 = sha256(masks[0].content) if masks else None
    fields = {part.name: part.content.decode("utf-8", "replace") for part in parts if part not in images + masks}
    reader = _Reader(call, fields, is_edit=True)
    return reader.order(origin=origin_of(request), files=files, reference_count=_check_images(images, masks))


class _Reader:
    """The options of a request, each checked as it is read; what has not been read in the end is unknown."""

    def __init__(self, call: Call, fields: dict[str, Any], *, is_edit: bool = False) -> None:
        self._call = call
        self._fields = {name: value for name, value in fields.items() if value is not None}
        self._is_edit = is_edit

    def order(self, *, origin: str, files: Files, reference_count: int = 0) -> OpenAIOrder:
        """Raises Rejected."""
        model_id = self._call.model = self._text("model")
        model = _find_model(model_id)
        prompt = self._text("prompt")
        self._call.prompt_sha256 = sha256(prompt)
        if len(prompt) > _LONGEST_PROMPT:
            raise _invalid("string_above_max_length", "Invalid 'prompt': string too long.", param="prompt")
        count = self._integer("n", 1, _MOST_PICTURES, default=1)
        quality = self._choice("quality", ("auto", *model.qualities), default="auto")
        sort = self._sort(model)
        self._check_the_rest(model_id, model)
        return OpenAIOrder(
            model_id=model_id,
            model=model,
            prompt=prompt,
            count=count,
            quality="medium" if quality == "auto" else quality,
            sort=sort,
            reference_count=reference_count,
            origin=origin,
            files=files,
        )

    def _sort(self, model: Model) -> Sort:
        size = self._text("size", default="auto")
        found = size_px(model, STANDARD_SIZES[0] if size == "auto" else size)
        if found is None:
            supported = ", ".join(f"'{each}'" for each in (*STANDARD_SIZES, "auto"))
            raise _invalid(
                "invalid_value", f"Invalid value: '{size}'. Supported values are: {supported}.", param="size"
            )
        form = self._choice("output_format", tuple(_FORMS), default="png")
        is_transparent = self._choice("background", _BACKGROUNDS, default="auto") == "transparent"
        if is_transparent and form == "jpeg":
            message = "Transparent background is not supported for JPEG output format."
            raise _invalid("invalid_value", message, param="background")
        if form == "png" and self._fields.get("output_compression", 100) not in (100, "100"):
            message = "Compression less than 100 is not supported for PNG output format."
            raise _invalid("invalid_value", message, param="output_compression")
        return Sort(
            width_px=found[0],
            height_px=found[1],
            form=form,  # pyright: ignore[reportArgumentType] - one of _FORMS
            quality=self._integer("output_compression", 0, 100, default=100),
            is_transparent=is_transparent,
        )

    def _check_the_rest(self, model_id: str, model: Model) -> None:
        self._choice("moderation", ("auto", "low"), default="auto")
        for name in ("user", "safety_identifier"):
            if not isinstance(self._fields.pop(name, ""), str):
                raise _invalid("invalid_type", f"Invalid type for '{name}': expected a string.", param=name)
        if model.has_complexity:
            self._choice("complexity", ("low", "medium", "high"), default="low")
        if self._fields.pop("stream", False) not in (False, "false"):
            raise _invalid("unsupported_value", "The sandbox does not stream.", param="stream")
        if self._is_edit and "input_fidelity" in self._fields:
            if not model.fidelities:
                message = f"The model '{model_id}' does not support the 'input_fidelity' parameter."
                raise _invalid("invalid_input_fidelity_model", message, param="input_fidelity")
            self._choice("input_fidelity", model.fidelities, default="low")
        for name in self._fields:
            raise _invalid("unknown_parameter", f"Unknown parameter: '{name}'.", param=name)

    def _text(self, name: str, *, default: str | None = None) -> str:
        value = self._fields.pop(name, default)
        if value is None or value == "":
            raise _invalid("missing_required_parameter", f"Missing required parameter: '{name}'.", param=name)
        if not isinstance(value, str):
            raise _invalid("invalid_type", f"Invalid type for '{name}': expected a string.", param=name)
        return value

    def _choice(self, name: str, values: tuple[str, ...], *, default: str) -> str:
        value = self._text(name, default=default)
        if value not in values:
            supported = ", ".join(f"'{each}'" for each in values)
            message = f"Invalid value: '{value}'. Supported values are: {supported}."
            raise _invalid("invalid_value", message, param=name)
        return value

    def _integer(self, name: str, least: int, most: int, *, default: int) -> int:
        value = self._fields.pop(name, default)
        if self._is_edit and isinstance(value, str) and _INTEGER_FORM.fullmatch(value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _invalid("invalid_type", f"Invalid type for '{name}': expected an integer.", param=name)
        if value < least:
            message = f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, got {value}."
            raise _invalid("integer_below_min_value", message, param=name)
        if value > most:
            message = f"Invalid '{name}': integer above maximum value. Expected a value <= {most}, got {value}."
            raise _invalid("integer_above_max_value", message, param=name)
        return value


def _check_images(images: list[Part], masks: list[Part]) -> int:
    """The number of images. Raises Rejected for what cannot be edited."""
    if not images:
        raise _invalid("missing_required_parameter", "Missing required parameter: 'image'.", param="image")
    if len(images) > _MOST_REFERENCES:
        message = f"Invalid 'image': array too long. Expected at most {_MOST_REFERENCES} images."
        raise _invalid("array_above_max_length", message, param="image")
    sizes = []
    for number, part in enumerate(images, start=1):
        opened = _opened(part.content, most_bytes=_MOST_IMAGE_BYTES)
        if opened is None or opened.format not in ("PNG", "JPEG", "WEBP"):
            message = f"Invalid image file or mode for image {number}, please check your image file."
            raise _invalid("invalid_image_file", message, param="image")
        sizes.append(opened.size)
    for part in masks:
        opened = _opened(part.content, most_bytes=_MOST_MASK_BYTES)
        if opened is None or opened.format != "PNG" or not opened.has_transparency_data:
            raise _invalid("invalid_image_file", "The mask is not a PNG with an alpha channel.", param="mask")
        if opened.size != sizes[0]:
            raise _invalid("invalid_image_file", "The mask is not of the first image's size.", param="mask")
    return len(images)


def _opened(content: bytes, *, most_bytes: int) -> Image.Image | None:
    if len(content) >= most_bytes:
        return None
    try:
        return Image.open(io.BytesIO(content))
    except (OSError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def _check_key(request: Request) -> None:
    key = key_of(request, "bearer")
    if not key or key == "bad-key":
        raise Rejected(_bad_key(), reason="invalid_api_key")


def _find_model(model_id: str) -> Model:
    if model_id not in MODELS:
        raise Rejected(_no_model(model_id), reason="model_not_found")
    return MODELS[model_id]


async def _list_models(request: Request) -> Answer:
    _check_key(request)
    return _json({"object": "list", "data": [_model_card(model_id) for model_id in MODELS]})


async def _show_model(request: Request) -> Answer:
    _check_key(request)
    model_id: str = request.path_params["model"]
    _find_model(model_id)
    return _json(_model_card(model_id))


def _model_card(model_id: str) -> dict[str, Any]:
    return {"id": model_id, "object": "model", "created": 1_760_000_000, "owned_by": "system"}


def _with_pictures(order: OpenAIOrder, directive: Directive, drawn: list[bytes]) -> Answer:
    """A generation that was finished, however its answer is spoilt."""
    entries = [_entry(order, directive, picture) for picture in drawn]
    body = _success(order, entries)
    if directive.fault is Fault.NO_USAGE:
        del body["usage"]
    elif directive.fault is Fault.NO_OUTPUT_DETAILS:
        del body["usage"]["output_tokens_details"]
    return spoilt(_json(body), directive)


def _without_picture(order: OpenAIOrder, directive: Directive) -> Answer:
    match directive.fault:
        case Fault.REFUSE:
            return _refusal(code=(directive.reason or "MODERATION_BLOCKED").lower())
        case Fault.NO_PICTURES:
            body = _success(order, [])
            del body["usage"]
            return _json(body)
        case Fault.EMPTY:
            return _json({})
        case _:
            failed = _error_answer(directive, model_id=order.model_id)
            assert failed is not None, "every fault without a picture is one of the above or an error"
            return failed


def _entry(order: OpenAIOrder, directive: Directive, picture: bytes) -> dict[str, Any]:
    if directive.fault in (Fault.AS_URL, Fault.AS_RELATIVE_URL):
        media_type = _FORMS[order.sort.form]
        path = order.files.keep(Answer(body=picture, media_type=media_type), suffix=f".{order.sort.form}")
        return {"url": path if directive.fault is Fault.AS_RELATIVE_URL else order.origin + path}
    _, content = decoy(directive, picture) or ("", picture)
    entry = {"b64_json": base64.b64encode(content).decode("ascii")}
    return entry | {"url": ""} if directive.fault is Fault.EMPTY_URL else entry


def _success(order: OpenAIOrder, entries: list[dict[str, Any]]) -> dict[str, Any]:
    usage = order.usage
    text_in, image_in, output = usage.text_in, usage.image_in, usage.text_out + usage.image_out
    return {
        "created": int(time.time()),
        "background": "transparent" if order.sort.is_transparent else "opaque",
        "data": entries,
        "output_format": order.sort.form,
        "quality": order.quality,
        "size": f"{order.sort.width_px}x{order.sort.height_px}",
        "usage": {
            "input_tokens": text_in + image_in,
            "input_tokens_details": {"text_tokens": text_in, "image_tokens": image_in},
            "output_tokens": output,
            "output_tokens_details": {"text_tokens": usage.text_out, "image_tokens": usage.image_out},
            "total_tokens": text_in + image_in + output,
        },
    }


def _error_answer(directive: Directive, *, model_id: str) -> Answer | None:
    match directive.fault:
        case Fault.RATE_LIMIT | Fault.RATE_LIMIT_MS | Fault.RATE_LIMIT_DATE | Fault.RATE_LIMIT_GARBLED:
            message = f"Rate limit reached for `{model_id}` on images per min (IPM): Limit 5, Used 5, Requested 1."
            limited = _error(429, "rate_limit_exceeded", message, type_="images")
            return replace(limited, more={**limited.more, **retry_after(directive)})
        case Fault.INTERNAL:
            message = "The server had an error while processing your request. Sorry about that!"
            return _error(500, "server_error", message, type_="server_error")
        case Fault.BAD_GATEWAY:
            return bad_gateway()
        case Fault.UNAVAILABLE:
            message = "The engine is currently overloaded, please try again later."
            return _error(503, None, message, type_="server_error")
        case Fault.DEADLINE:
            return _error(504, None, "The request timed out.", type_="server_error")
        case Fault.REQUEST_TIMEOUT:
            return _error(408, None, "Request timed out.", type_="timeout")
        case Fault.CONFLICT:
            return _error(409, "conflict", "The request conflicts with another one.")
        case Fault.BAD_KEY:
            return _bad_key()
        case Fault.FORBIDDEN:
            return _error(403, None, f"Your organization must be verified to use the model `{model_id}`.")
        case Fault.NO_CREDIT:
            message = "You exceeded your current quota, please check your plan and billing details."
            return _error(429, "insufficient_quota", message, type_="insufficient_quota")
        case Fault.BILLING_LIMIT:
            message = "Billing hard limit has been reached."
            return _error(400, "billing_hard_limit_reached", message, type_="billing_limit_user_error")
        case Fault.MODEL_GONE:
            return _no_model(model_id)
        case Fault.ERROR_TEXT:
            return _json({"error": "something went wrong"}, status=directive.status or 500)
        case Fault.ERROR_DETAIL:
            return _json({"detail": "something went wrong"}, status=directive.status or 422)
        case _:
            return None


def _refusal(*, code: str) -> Answer:
    if code == "content_policy_violation":
        return _error(400, code, "Your request was rejected as a result of our safety system.")
    message = "Your request was rejected by the safety system. safety_violations=[violence]."
    return _error(400, code, message, type_="image_generation_user_error")


def _bad_key() -> Answer:
    return _error(401, "invalid_api_key", "Incorrect API key provided.")


def _no_model(model_id: str) -> Answer:
    message = f"The model '{model_id}' does not exist or you do not have access to it."
    return _error(404, "model_not_found", message)


def _invalid(code: str | None, message: str, *, param: str | None = None) -> Rejected:
    return Rejected(_error(400, code, message, param=param), reason=code or "invalid_request_error")


def _error(
    status: int, code: str | None, message: str, *, type_: str = "invalid_request_error", param: str | None = None
) -> Answer:
    return _json({"error": {"message": message, "type": type_, "param": param, "code": code}}, status=status)


def _json(body: dict[str, Any], *, status: int = 200) -> Answer:
    return Answer(
        status=status,
        body=orjson.dumps(body),
        media_type="application/json",
        more={"x-request-id": f"req_{secrets.token_hex(16)}", "openai-version": "2020-10-01"},
    )
