"""Requests and answers of the Gemini protocol, as the tests need them."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from safelight.domain.money import Cost, CostBasis
from safelight.net.billable import billable_call
from safelight.providers.gemini import GeminiProvider
from safelight.providers.prices import GENAI_PRICES_REF
from safelight.providers.provider import ImageRequest, ProviderError

KEY = "AIzaCanary-key-0123456789"
PROMPT = "A brass key, bent and oily, in the library of Ada Vane"
MODEL = "gemini-3.1-flash-image"
PNG = b"\x89PNG\r\n\x1a\n-not-decoded-here"

USAGE = {
    "promptTokenCount": 12,
    "candidatesTokenCount": 1120,
    "thoughtsTokenCount": 90,
    "totalTokenCount": 1222,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}
USAGE_COST = Cost(67_476, CostBasis.USAGE, GENAI_PRICES_REF)
INPUT_USAGE = {"promptTokenCount": 12, "totalTokenCount": 12}
INPUT_COST = Cost(6, CostBasis.USAGE, GENAI_PRICES_REF)


def request(**changes: Any) -> ImageRequest:
    asked: dict[str, Any] = {
        "model": MODEL,
        "prompt": PROMPT,
        "attempt_key": "att-1",
        "timeout_seconds": 60.0,
    }
    return ImageRequest(**asked | changes)


def picture_part(data: bytes = PNG, **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(data).decode()}, **more}


def answer(*parts: dict[str, Any], finish: str | None = "STOP", usage: Any = None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}} if parts else {}
    if finish is not None:
        candidate["finishReason"] = finish
    body: dict[str, Any] = {
        "candidates": [candidate],
        "modelVersion": "gemini-3.1-flash-image-007",
        "responseId": "r1",
    }
    return body | ({"usageMetadata": usage} if usage is not None else {})


def error(status: int, code: str, *details: dict[str, Any], message: str = "no") -> dict[str, Any]:
    return {"error": {"code": status, "message": message, "status": code, "details": list(details)}}


def retry_info(delay: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def quota_failure(quota_id: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota_id}]}


BAD_KEY = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}


async def failure_of(provider: GeminiProvider, asked: ImageRequest | None = None) -> ProviderError:
    """What submit raises, inside a call as the engine makes one."""
    with billable_call(timeout_seconds=60), pytest.raises(ProviderError) as caught:
        await provider.submit(asked or request())
    return caught.value
