"""Requests and answers of fal's queue protocol, as the tests need them."""

from __future__ import annotations

from typing import Any

from remote_wire import JobVendor, image_request

from safelight.domain.money import Cost, CostBasis
from safelight.providers.provider import ImageRequest, RemoteHandle

MODEL = "fal-ai/flux/schnell"
BUY = f"/{MODEL}"
RESULT = "/fal-ai/flux/requests/req1"
STATUS = f"{RESULT}/status"
CANCEL = f"{RESULT}/cancel"
PRICE_REF = "safelight fal 2026-11"
PRICE = Cost(3_000, CostBasis.TABLE, PRICE_REF)


def request(**changes: Any) -> ImageRequest:
    return image_request(**{"model": MODEL} | changes)


def accepted(vendor: JobVendor, **more: Any) -> dict[str, Any]:
    return {
        "status": "IN_QUEUE",
        "request_id": "req1",
        "status_url": f"{vendor.url}{STATUS}",
        "response_url": f"{vendor.url}{RESULT}",
        "cancel_url": f"{vendor.url}{CANCEL}",
        "queue_position": 0,
    } | more


def handle(vendor: JobVendor) -> RemoteHandle:
    return RemoteHandle(
        remote_id="req1",
        urls={
            "status": f"{vendor.url}{STATUS}",
            "response": f"{vendor.url}{RESULT}",
            "cancel": f"{vendor.url}{CANCEL}",
        },
    )


def completed(**more: Any) -> dict[str, Any]:
    return {"status": "COMPLETED", "logs": None, "metrics": {"inference_time": 1.5}} | more


def made(url: str, *, flagged: bool = False, **image: Any) -> dict[str, Any]:
    picture = {"url": url, "width": 1024, "height": 768, "content_type": "image/png"} | image
    return {"images": [picture], "seed": 42, "has_nsfw_concepts": [flagged], "timings": {}, "prompt": "as asked"}


def model_error(kind: str, message: str = "no") -> dict[str, Any]:
    return {"detail": [{"loc": ["body", "prompt"], "msg": message, "type": kind, "input": "the prompt"}]}


def queue_error(kind: str, message: str = "no") -> dict[str, Any]:
    return {"detail": message, "error_type": kind}
