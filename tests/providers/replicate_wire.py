"""Requests and answers of Replicate's protocol, as the tests need them."""

from __future__ import annotations

from typing import Any

from remote_wire import JobVendor, image_request

from safelight.domain.money import Cost, CostBasis
from safelight.providers.provider import ImageRequest, RemoteHandle

MODEL = "black-forest-labs/flux-schnell"
BUY = f"/v1/models/{MODEL}/predictions"
JOB = "/v1/predictions/pred1"
PRICE = Cost(3_000, CostBasis.TABLE, "safelight replicate 2026-11")

TIMED_MODEL = "ada/by-the-second"
BY_THE_SECOND: dict[str, dict[str, Any]] = {
    TIMED_MODEL: {"timeout_seconds": 60, "second_usd": "0.001", "fields": {"version": "v" * 64}}
}


def request(**changes: Any) -> ImageRequest:
    return image_request(**{"model": MODEL} | changes)


def prediction(vendor: JobVendor, status: str, **more: Any) -> dict[str, Any]:
    urls = {"get": f"{vendor.url}{JOB}", "cancel": f"{vendor.url}{JOB}/cancel", "stream": "https://stream.example/x"}
    return {"id": "pred1", "model": MODEL, "version": "hidden", "status": status, "output": None, "urls": urls} | more


def handle(vendor: JobVendor) -> RemoteHandle:
    return RemoteHandle(remote_id="pred1", urls={"get": f"{vendor.url}{JOB}", "cancel": f"{vendor.url}{JOB}/cancel"})
