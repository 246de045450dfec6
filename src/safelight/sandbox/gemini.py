"""Gemini's `generateContent` wire, as far as it concerns images: requests in, answers and errors out."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, assert_never

import orjson

from safelight.sandbox import decoys
from safelight.sandbox.faults import CHARGES_PICTURE, CHARGES_WORDS, Directive, Fault
from safelight.sandbox.models import MODELS, Model, Usage
from safelight.sandbox.wire import CUT, HTML, Answer, Delivery

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


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiCall:
    """A request the vendor accepts."""

    model_id: str
    model: Model
    prompt: str
    reference_count: int
    aspect_ratio: str
    size: str


class Rejected(Exception):
    """The request is refused before any work, free of charge. `reason` is the bill's word for it."""

    def __init__(self, answer: Answer, *, reason: str) -> None:
        super().__init__(reason)
        self.answer = answer
        self.reason = reason


def check_key(key: str | None) -> None:
    """Raises Rejected for a missing key and for `bad-key`: with status 400, as the vendor does."""
    if key and key != "bad-key":
        return
    message = "API key not valid. Please pass a valid API key."
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"},
        },
        {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message},
    ]
    raise Rejected(error(400, "INVALID_ARGUMENT", message, details), reason="API_KEY_INVALID")


def find_model(model_id: str, *, version: str, method: str) -> Model:
    """Raises Rejected (404)."""
    if version not in ("v1", "v1beta") or method != "generateContent" or model_id not in MODELS:
        message = f"models/{model_id} is not found for API version {version}, or does not support {method}."
        raise Rejected(error(404, "NOT_FOUND", message), reason="NOT_FOUND")
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


def read_call(payload: Mapping[str, Any], *, model_id: str, model: Model, prompt: str) -> GeminiCall:
    """Raises Rejected for an option the model does not have."""
    generation = _object(payload, "generationConfig", known=_GENERATION_FIELDS)
    image = _object(generation, "imageConfig", known=_IMAGE_FIELDS)
    if generation.get("candidateCount", 1) != 1:
        raise invalid("Multiple candidates is not enabled for this model")
    seed = generation.get("seed")
    if seed is not None and (not isinstance(seed, int) or seed not in _INT32):
        raise invalid("Invalid value at 'generation_config.seed' (TYPE_INT32)")
    if "IMAGE" not in generation.get("responseModalities", ["IMAGE"]):
        raise invalid("The sandbox draws images only: ask for the IMAGE response modality.")
    ratio, size = image.get("aspectRatio", "1:1"), image.get("imageSize", "1K")
    if ratio not in model.aspect_ratios:
        allowed = ", ".join(sorted(model.aspect_ratios))
        raise invalid(f"aspect_ratio must be one of {allowed}")
    if size not in model.image_tokens:
        raise invalid(f"image_size must be one of {', '.join(model.image_tokens)}")
    return GeminiCall(
        model_id=model_id,
        model=model,
        prompt=prompt,
        reference_count=_count_references(payload),
        aspect_ratio=ratio,
        size=size,
    )


def usage_of(call: GeminiCall, fault: Fault) -> Usage | None:
    """What the vendor charges for, shown to the caller or not; None is free. Depends on the call alone."""
    digest = hashlib.sha256(call.prompt.encode()).digest()
    prompt_text = max((len(call.prompt) + 3) // 4, 1)
    prompt_images = call.reference_count * _TOKENS_PER_REFERENCE
    text, thoughts = 2 + digest[0] % 8, 40 + digest[1] % 120
    if fault in CHARGES_PICTURE:
        return Usage(
            prompt_text=prompt_text,
            prompt_images=prompt_images,
            text=text,
            image=call.model.image_tokens[call.size],
            thoughts=thoughts,
        )
    if fault in CHARGES_WORDS:
        return Usage(prompt_text=prompt_text, prompt_images=prompt_images, text=text * 3)
    if fault is Fault.REFUSE:
        return Usage(prompt_text=prompt_text, prompt_images=prompt_images)
    return None


def answer(call: GeminiCall, directive: Directive, *, usage: Usage | None, picture: str, draft: str) -> Answer:
    """What goes back. `picture` and `draft` are base64 PNGs; the first for whatever is charged as a picture, the
    second for `thought`."""
    match directive.fault:
        case Fault.OK | Fault.SLOW:
            return _candidate(call, usage, parts=[_inline(picture)])
        case Fault.THOUGHT:
            return _candidate(call, usage, parts=[_inline(draft) | {"thought": True}, _inline(picture)])
        case Fault.TEXT_ONLY:
            return _candidate(call, usage, parts=[{"text": "I cannot draw that, but I can describe it."}])
        case Fault.REFUSE:
            return _candidate(call, usage, finish_reason=directive.reason or "IMAGE_SAFETY")
        case Fault.NO_IMAGE:
            return _candidate(call, usage, finish_reason="NO_IMAGE")
        case Fault.CONTINUATION:
            return _candidate(call, usage, finish_reason="CONTINUATION")
        case Fault.REFUSE_PROMPT:
            return _ok({"promptFeedback": {"blockReason": directive.reason}, **_identity(call)})
        case Fault.EMPTY:
            return _ok({})
        case Fault.HTML:
            return Answer(body=_page("Welcome", "This is not the API you are looking for."), media_type=HTML)
        case Fault.RATE_LIMIT:
            return _quota(call, directive, quota_id="GenerateRequestsPerMinutePerProjectPerModel")
        case Fault.DAILY_QUOTA:
            return _quota(call, directive, quota_id="GenerateRequestsPerDayPerProjectPerModel")
        case Fault.INTERNAL:
            return error(500, "INTERNAL", "An internal error has occurred. Please retry.")
        case Fault.BAD_GATEWAY:
            body = _page("502 Bad Gateway", "The server could not complete your request.")
            return Answer(status=502, body=body, media_type=HTML)
        case Fault.UNAVAILABLE:
            return error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
        case Fault.DEADLINE:
            return error(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.")
        case Fault.CUT | Fault.HANG:
            return CUT
        case (
            Fault.RESET
            | Fault.DRIP_HEADERS
            | Fault.DRIP_BODY
            | Fault.SHORT_BODY
            | Fault.CUT_CHUNK
            | Fault.HALF_BODY
            | Fault.CALLED_PNG
            | Fault.CALLED_HTML
            | Fault.GZIP_BOMB
        ):
            return _spoilt(_candidate(call, usage, parts=[_inline(picture)]), directive)
        case (
            Fault.NOT_AN_IMAGE
            | Fault.GARBAGE
            | Fault.NO_BYTES
            | Fault.TRUNCATED
            | Fault.HALF_JPEG
            | Fault.JPEG
            | Fault.PIXEL_BOMB
            | Fault.TEXT_BOMB
            | Fault.FRAMES
            | Fault.PADDED
        ):
            mime, data = _decoy(directive, base64.b64decode(picture))
            return _candidate(call, usage, parts=[_inline(_encode(data), mime)])
    assert_never(directive.fault)


def error(status: int, word: str, message: str, details: list[dict[str, Any]] | None = None) -> Answer:
    content: dict[str, Any] = {"code": status, "message": message, "status": word}
    if details:
        content["details"] = details
    return Answer(status=status, body=orjson.dumps({"error": content}))


def invalid(message: str) -> Rejected:
    return Rejected(error(400, "INVALID_ARGUMENT", message), reason="INVALID_ARGUMENT")


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


def _count_references(payload: Mapping[str, Any]) -> int:
    count = 0
    for part in _parts(payload):
        inline = _either(part, "inlineData")
        if inline is None:
            continue
        mime = _either(inline, "mimeType") if isinstance(inline, dict) else None
        if not isinstance(mime, str) or not mime.startswith("image/"):
            raise invalid("Unsupported MIME type")
        try:
            base64.b64decode(inline.get("data") or "", altchars=b"-_", validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise invalid("Invalid value at 'inline_data.data' (TYPE_BYTES), Base64 decoding failed") from None
        count += 1
    return count


def _either(fields: Mapping[str, Any], camel: str) -> Any:
    return fields.get(camel, fields.get(re.sub("[A-Z]", lambda m: "_" + m.group().lower(), camel)))


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda m: m.group(1).upper(), name)


def _candidate(
    call: GeminiCall,
    usage: Usage | None,
    *,
    parts: list[dict[str, Any]] | None = None,
    finish_reason: str = "STOP",
) -> Answer:
    candidate: dict[str, Any] = {"finishReason": finish_reason, "index": 0}
    if parts is not None:
        candidate["content"] = {"parts": parts, "role": "model"}
    body: dict[str, Any] = {"candidates": [candidate], **_identity(call)}
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


def _identity(call: GeminiCall) -> dict[str, Any]:
    return {"modelVersion": call.model_id, "responseId": secrets.token_urlsafe(16)}


def _quota(call: GeminiCall, directive: Directive, *, quota_id: str) -> Answer:
    seconds = directive.seconds or 0.0
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_paid_tier_requests",
        "quotaId": quota_id,
        "quotaDimensions": {"model": call.model_id, "location": "global"},
        "quotaValue": "20",
    }
    return error(
        429,
        "RESOURCE_EXHAUSTED",
        f"You exceeded your current quota. Please retry in {seconds:g}s.",
        [
            {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds:g}s"},
        ],
    )


def _spoilt(whole: Answer, directive: Directive) -> Answer:
    """A good answer that takes a bad way to the caller."""
    match directive.fault:
        case Fault.CALLED_PNG:
            return replace(whole, media_type="image/png")
        case Fault.CALLED_HTML:
            return replace(whole, media_type=HTML)
        case Fault.GZIP_BOMB:
            body = decoys.gzip_bomb(whole.body, megabytes=directive.megabytes or 0)
            return replace(whole, body=body, encoding="gzip")
        case fault:
            return replace(whole, delivery=Delivery(fault.value), byte_seconds=directive.seconds or 0.0)


def _decoy(directive: Directive, png: bytes) -> tuple[str, bytes]:
    """The claimed type, and what comes under that name."""
    match directive.fault:
        case Fault.GARBAGE:
            return "image/png", decoys.garbage()
        case Fault.NO_BYTES:
            return "image/png", b""
        case Fault.TRUNCATED:
            return "image/png", png[: len(png) // 2]
        case Fault.HALF_JPEG:
            jpeg = decoys.as_jpeg(png)
            return "image/jpeg", jpeg[: len(jpeg) // 2]
        case Fault.JPEG:
            return "image/png", decoys.as_jpeg(png)
        case Fault.PIXEL_BOMB:
            return "image/png", decoys.pixel_bomb()
        case Fault.TEXT_BOMB:
            return "image/png", decoys.text_bomb(png, megabytes=directive.megabytes or 0)
        case Fault.FRAMES:
            return "image/webp", decoys.animation()
        case Fault.PADDED:
            return "image/png", png.ljust((directive.megabytes or 0) * 750_000, b"\0")
        case _:
            return "image/png", b'{"error": "the picture could not be stored"}'


def _inline(data: str, mime: str = "image/png") -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": data}}


def _ok(body: dict[str, Any]) -> Answer:
    return Answer(body=orjson.dumps(body))


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _page(title: str, words: str) -> bytes:
    return f"<!DOCTYPE html><html><head><title>{title}</title></head><body><p>{words}</p></body></html>".encode()
