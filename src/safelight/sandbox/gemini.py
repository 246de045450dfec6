"""Gemini's `generateContent` wire, as far as it concerns images: requests in, answers and errors out."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.routing import Route

from safelight.sandbox.desk import Desk
from safelight.sandbox.faults import CHARGES_PICTURE, CHARGES_WORDS, COMMON, Directive, Fault
from safelight.sandbox.models import MODELS, Model, Usage, cost_microusd
from safelight.sandbox.pictures import Pictures
from safelight.sandbox.protocol import Rejected
from safelight.sandbox.spoiling import DECOYS, bad_gateway, decoy, spoilt
from safelight.sandbox.vendor import Call, sha256
from safelight.sandbox.wire import Answer

_TOKENS_PER_REFERENCE = 258  # the vendor's count for a small inline image
_INT32 = range(-(2**31), 2**31)
_GENERATION_FIELDS = frozenset(
    {
        "candidateCount",
        "imageConfig",
        "maxOutputTokens",
        "mediaResolution",
        "responseModalities",
        "seed",
        "temperature",
        "thinkingConfig",
        "topK",
        "topP",
    }
)
_IMAGE_FIELDS = frozenset({"aspectRatio", "imageSize"})


FAULTS = COMMON | {
    Fault.THOUGHT,
    Fault.DAILY_QUOTA,
    Fault.REFUSE,
    Fault.REFUSE_PROMPT,
    Fault.NO_IMAGE,
    Fault.TEXT_ONLY,
    Fault.CONTINUATION,
    Fault.EMPTY,
    Fault.ERROR_TEXT,
}


class GeminiWire:
    """`POST /v1/models/{model}:generateContent`, `GET /v1/models`."""

    name = "gemini"
    base_path = ""
    faults = FAULTS
    reasons: Mapping[Fault, str] = {Fault.REFUSE: "IMAGE_SAFETY", Fault.REFUSE_PROMPT: "PROHIBITED_CONTENT"}

    def routes(self, desk: Desk) -> list[Route]:
        return [
            Route("/{version}/models/{model}:{method}", desk.sale(self, read_order), methods=["POST"]),
            Route("/{version}/models", desk.visit(self, _list_models), methods=["GET"]),
        ]

    def error(self, directive: Directive, *, model: str) -> Answer | None:
        return _error_answer(directive, model_id=model)

    def invalid(self, message: str) -> Rejected:
        return invalid(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiOrder:
    """A request the vendor accepts."""

    model_id: str
    model: Model
    prompt: str
    reference_count: int
    aspect_ratio: str
    size: str

    def cost_microusd(self, fault: Fault) -> int:
        usage = usage_of(self, fault)
        return cost_microusd(self.model, usage) if usage else 0

    async def prepare(self, directive: Directive, pictures: Pictures) -> Callable[[], Answer]:
        fault = directive.fault
        picture, draft = await asyncio.gather(
            self._picture(pictures, self.prompt) if fault in CHARGES_PICTURE else _nothing(),
            self._picture(pictures, f"a first draft of {self.prompt}") if fault is Fault.THOUGHT else _nothing(),
        )
        return partial(answer, self, directive, picture=picture, draft=draft)

    async def _picture(self, pictures: Pictures, prompt: str) -> str:
        return await pictures.png_base64(prompt, aspect_ratio=self.aspect_ratio, size=self.size)


async def read_order(request: Request, call: Call) -> GeminiOrder:
    """Raises Rejected."""
    path = request.path_params
    call.model = path["model"]
    check_key(request.headers.get("x-goog-api-key"))
    model = find_model(call.model, version=path["version"], method=path["method"])
    payload = read_body(await request.body())
    prompt = read_prompt(payload)
    call.prompt_sha256 = sha256(prompt)
    order = read_call(payload, model_id=call.model, model=model, prompt=prompt)
    call.references_sha256 = tuple(map(sha256, _references(payload)))
    return order


async def _list_models(request: Request) -> Answer:
    """All on one page."""
    check_key(request.headers.get("x-goog-api-key"))
    return _ok(
        {"models": [{"name": f"models/{each}", "supportedGenerationMethods": ["generateContent"]} for each in MODELS]}
    )


def check_key(key: str | None) -> None:
    """Raises Rejected for a missing key and for `bad-key`: with status 400, as the vendor does."""
    if not key or key == "bad-key":
        raise Rejected(_bad_key(), reason="API_KEY_INVALID")


def find_model(model_id: str, *, version: str, method: str) -> Model:
    """Raises Rejected (404)."""
    if version not in ("v1", "v1beta") or method != "generateContent" or model_id not in MODELS:
        raise Rejected(_no_model(model_id, version=version, method=method), reason="NOT_FOUND")
    return MODELS[model_id]


def read_body(body: bytes) -> Mapping[str, Any]:
    """Raises Rejected."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise invalid("Invalid JSON payload received.") from None
    if not isinstance(payload, dict):
        raise invalid("Invalid JSON payload received: expected an object.")
    return payload


def read_prompt(payload: Mapping[str, Any]) -> str:
    """All text parts, joined by line feeds. Raises Rejected when there is none."""
    texts = [part["text"] for part in _parts(payload) if isinstance(part.get("text"), str)]
    if not any(text.strip() for text in texts):
        raise invalid("contents is not specified")
    return "\n".join(texts)


def read_call(payload: Mapping[str, Any], *, model_id: str, model: Model, prompt: str) -> GeminiOrder:
    """Raises Rejected for an option the model does not have."""
    generation = _object(payload, "generationConfig", known=_GENERATION_FIELDS)
    image = _object(generation, "imageConfig", known=_IMAGE_FIELDS)
    if generation.get("candidateCount", 1) != 1:
        raise invalid("Multiple candidates is not enabled for this model")
    seed = generation.get("seed")
    if seed is not None and (not isinstance(seed, int) or seed not in _INT32):
        raise invalid("Invalid value at 'generation_config.seed' (TYPE_INT32)")
    modalities = generation.get("responseModalities") or ["IMAGE"]
    if not isinstance(modalities, list) or "IMAGE" not in modalities:
        raise invalid("The sandbox draws images only: ask for the IMAGE response modality.")
    ratio, size = image.get("aspectRatio", "1:1"), image.get("imageSize", "1K")
    if not isinstance(ratio, str) or ratio not in model.aspect_ratios:
        allowed = ", ".join(sorted(model.aspect_ratios))
        raise invalid(f"aspect_ratio must be one of {allowed}")
    if not isinstance(size, str) or size not in model.image_tokens:
        raise invalid(f"image_size must be one of {', '.join(model.image_tokens)}")
    return GeminiOrder(
        model_id=model_id,
        model=model,
        prompt=prompt,
        reference_count=len(list(_references(payload))),
        aspect_ratio=ratio,
        size=size,
    )


def usage_of(order: GeminiOrder, fault: Fault) -> Usage | None:
    """What the vendor charges for, shown to the caller or not; None is free. Depends on the order alone."""
    digest = hashlib.sha256(order.prompt.encode()).digest()
    prompt_text = max((len(order.prompt) + 3) // 4, 1)
    prompt_images = order.reference_count * _TOKENS_PER_REFERENCE
    text, thoughts = 2 + digest[0] % 8, 40 + digest[1] % 120
    if fault in CHARGES_PICTURE:
        return Usage(
            prompt_text=prompt_text,
            prompt_images=prompt_images,
            text=text,
            image=order.model.image_tokens[order.size],
            thoughts=thoughts,
        )
    if fault in CHARGES_WORDS:
        return Usage(prompt_text=prompt_text, prompt_images=prompt_images, text=text * 3)
    if fault is Fault.REFUSE:
        return Usage(prompt_text=prompt_text, prompt_images=prompt_images)
    return None


def answer(order: GeminiOrder, directive: Directive, *, picture: str, draft: str) -> Answer:
    """What goes back. `picture` and `draft` are base64 PNGs; the first for whatever is charged as a picture, the
    second for `thought`."""
    usage = usage_of(order, directive.fault)
    match directive.fault:
        case Fault.THOUGHT:
            return _candidate(order, usage, parts=[_inline(draft) | {"thought": True}, _inline(picture)])
        case Fault.TEXT_ONLY:
            return _candidate(order, usage, parts=[{"text": "I cannot draw that, but I can describe it."}])
        case Fault.REFUSE:
            return _candidate(order, usage, finish_reason=directive.reason or "IMAGE_SAFETY")
        case Fault.NO_IMAGE | Fault.CONTINUATION as fault:
            return _candidate(order, usage, finish_reason=fault.name)
        case Fault.REFUSE_PROMPT:
            return _ok({"promptFeedback": {"blockReason": directive.reason}, **_identity(order)})
        case Fault.EMPTY:
            return _ok({})
        case _:
            pass
    if failed := _error_answer(directive, model_id=order.model_id):
        return failed
    instead = decoy(directive, base64.b64decode(picture)) if directive.fault in DECOYS else None
    part = _inline(_encode(instead[1]), instead[0]) if instead else _inline(picture)
    return spoilt(_candidate(order, usage, parts=[part]), directive)


def _error_answer(directive: Directive, *, model_id: str) -> Answer | None:
    match directive.fault:
        case Fault.RATE_LIMIT | Fault.RATE_LIMIT_GARBLED:
            return _quota(model_id, directive, quota_id="GenerateRequestsPerMinutePerProjectPerModel")
        case Fault.DAILY_QUOTA:
            return _quota(model_id, directive, quota_id="GenerateRequestsPerDayPerProjectPerModel")
        case Fault.INTERNAL:
            return error(500, "INTERNAL", "An internal error has occurred. Please retry.")
        case Fault.BAD_GATEWAY:
            return bad_gateway()
        case Fault.UNAVAILABLE:
            return error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
        case Fault.DEADLINE:
            return error(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.")
        case Fault.BAD_KEY:
            return _bad_key()
        case Fault.FORBIDDEN:
            return error(403, "PERMISSION_DENIED", "The caller does not have permission.")
        case Fault.NO_CREDIT:
            message = "This API method requires billing to be enabled."
            return error(403, "PERMISSION_DENIED", message, [_error_info("BILLING_DISABLED")])
        case Fault.MODEL_GONE:
            return _no_model(model_id, version="v1", method="generateContent")
        case Fault.ERROR_TEXT:
            return Answer(status=directive.status or 500, body=b'{"error":"something went wrong"}')
        case _:
            return None


def error(status: int, word: str, message: str, details: list[dict[str, Any]] | None = None) -> Answer:
    content: dict[str, Any] = {"code": status, "message": message, "status": word}
    if details:
        content["details"] = details
    return Answer(status=status, body=orjson.dumps({"error": content}))


def invalid(message: str) -> Rejected:
    return Rejected(error(400, "INVALID_ARGUMENT", message), reason="INVALID_ARGUMENT")


def _no_model(model_id: str, *, version: str, method: str) -> Answer:
    message = f"models/{model_id} is not found for API version {version}, or does not support {method}."
    return error(404, "NOT_FOUND", message)


def _bad_key() -> Answer:
    message = "API key not valid. Please pass a valid API key."
    localized = {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message}
    return error(400, "INVALID_ARGUMENT", message, [_error_info("API_KEY_INVALID"), localized])


def _error_info(reason: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }


def _parts(payload: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    contents = payload.get("contents")
    for content in contents if isinstance(contents, list) else ():
        parts = content.get("parts") if isinstance(content, dict) else None
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise invalid("Invalid value at 'contents'")
        yield from parts


def _object(parent: Mapping[str, Any], name: str, *, known: frozenset[str]) -> Mapping[str, Any]:
    """The named object with camelCase keys; protobuf's JSON form accepts both spellings."""
    value = _either(parent, name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise invalid(f"Invalid value at '{name}'")
    fields = {_camel(key): item for key, item in value.items()}
    for unknown in sorted(fields.keys() - known):
        raise invalid(f"Invalid JSON payload received. Unknown name \"{unknown}\" at '{name}': Cannot find field.")
    return fields


def _references(payload: Mapping[str, Any]) -> Iterator[bytes]:
    for part in _parts(payload):
        inline = _either(part, "inlineData")
        if inline is None:
            continue
        mime = _either(inline, "mimeType") if isinstance(inline, dict) else None
        if not isinstance(mime, str) or not mime.startswith("image/"):
            raise invalid("Unsupported MIME type")
        try:
            yield _decoded(inline.get("data") or "")
        except (binascii.Error, AttributeError, TypeError, ValueError):  # one of them for what is no text
            raise invalid("Invalid value at 'inline_data.data' (TYPE_BYTES), Base64 decoding failed") from None


def _decoded(data: str) -> bytes:
    """Either alphabet. Raises ValueError or TypeError."""
    return base64.b64decode(data.replace("-", "+").replace("_", "/"), validate=True)


def _either(fields: Mapping[str, Any], camel: str) -> Any:
    return fields.get(camel, fields.get(re.sub("[A-Z]", lambda m: "_" + m.group().lower(), camel)))


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda m: m.group(1).upper(), name)


def _candidate(
    order: GeminiOrder,
    usage: Usage | None,
    *,
    parts: list[dict[str, Any]] | None = None,
    finish_reason: str = "STOP",
) -> Answer:
    candidate: dict[str, Any] = {"finishReason": finish_reason, "index": 0}
    if parts is not None:
        candidate["content"] = {"parts": parts, "role": "model"}
    body: dict[str, Any] = {"candidates": [candidate], **_identity(order)}
    if usage is not None:
        body["usageMetadata"] = _usage_metadata(usage)
    return _ok(body)


def _usage_metadata(usage: Usage) -> dict[str, Any]:
    prompt, candidates = usage.prompt_text + usage.prompt_images, usage.text + usage.image
    metadata: dict[str, Any] = {
        "promptTokenCount": prompt,
        "totalTokenCount": prompt + candidates + usage.thoughts,
        "promptTokensDetails": _by_modality(TEXT=usage.prompt_text, IMAGE=usage.prompt_images),
    }
    if candidates:
        metadata["candidatesTokenCount"] = candidates
        metadata["candidatesTokensDetails"] = _by_modality(TEXT=usage.text, IMAGE=usage.image)
    if usage.thoughts:
        metadata["thoughtsTokenCount"] = usage.thoughts
    return metadata


def _by_modality(**tokens: int) -> list[dict[str, Any]]:
    return [{"modality": modality, "tokenCount": count} for modality, count in tokens.items() if count]


def _identity(order: GeminiOrder) -> dict[str, Any]:
    return {"modelVersion": order.model_id, "responseId": secrets.token_urlsafe(16)}


def _quota(model_id: str, directive: Directive, *, quota_id: str) -> Answer:
    delay = when = "soon"
    if directive.seconds is not None:
        delay = f"{directive.seconds:g}s"
        when = f"in {delay}"
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_paid_tier_requests",
        "quotaId": quota_id,
        "quotaDimensions": {"model": model_id, "location": "global"},
        "quotaValue": "20",
    }
    return error(
        429,
        "RESOURCE_EXHAUSTED",
        f"You exceeded your current quota. Please retry {when}.",
        [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
        ],
    )


def _inline(data: str, mime: str = "image/png") -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": data}}


def _ok(body: dict[str, Any]) -> Answer:
    return Answer(body=orjson.dumps(body))


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


async def _nothing() -> str:
    return ""
