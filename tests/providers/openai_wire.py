"""Requests and answers of OpenAI's Images API, as the tests need them."""

from __future__ import annotations

import asyncio
import base64
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, cast

import httpx2
import pytest
from loopback_vendor import SeenRequest, Vendor

from safelight.domain.money import Cost, CostBasis
from safelight.net.billable import billable_call
from safelight.net.fetch import Fetched, FetchFailed, FetchRefused
from safelight.providers.openai import OpenAIProvider
from safelight.providers.prices import GENAI_PRICES_REF
from safelight.providers.provider import ImageInput, ImageRequest, InputRole, ProviderError

KEY = "sk-proj-Canary_key-0123456789"
PROMPT = "A brass key, bent and oily, in the library of Ada Vane"
MODEL = "gpt-image-2"
PNG = b"\x89PNG\r\n\x1a\n-not-decoded-here"

USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"text_tokens": 20, "image_tokens": 0},
    "output_tokens": 1056,
    "output_tokens_details": {"text_tokens": 0, "image_tokens": 1056},
    "total_tokens": 1076,
}
USAGE_COST = Cost(31_780, CostBasis.USAGE, GENAI_PRICES_REF)
INPUT_USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"text_tokens": 20, "image_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 20,
}
INPUT_COST = Cost(100, CostBasis.USAGE, GENAI_PRICES_REF)

JSON = {"content-type": "application/json", "x-request-id": "req_1"}


def request(**changes: Any) -> ImageRequest:
    asked: dict[str, Any] = {
        "model": MODEL,
        "prompt": PROMPT,
        "attempt_key": "att-1",
        "timeout_seconds": 60.0,
    }
    return ImageRequest(**asked | changes)


def reference(data: bytes = b"a reference", mime: str = "image/png") -> ImageInput:
    return ImageInput(role=InputRole.REFERENCE, mime=mime, data=data)


def mask(data: bytes = b"a mask") -> ImageInput:
    return ImageInput(role=InputRole.MASK, mime="image/png", data=data)


def b64(data: bytes = PNG) -> str:
    return base64.b64encode(data).decode()


def answer(*pictures: dict[str, Any], usage: Any = None) -> dict[str, Any]:
    body: dict[str, Any] = {
        "created": 1_795_000_000,
        "background": "opaque",
        "output_format": "png",
        "quality": "medium",
        "size": "1024x1024",
        "data": list(pictures),
    }
    return body | ({"usage": usage} if usage is not None else {})


def picture(data: bytes = PNG) -> dict[str, Any]:
    return {"b64_json": b64(data)}


def error(code: str | None, *, kind: str | None = "invalid_request_error", message: str = "no") -> dict[str, Any]:
    return {"error": {"code": code, "type": kind, "param": None, "message": message}}


def form_of(sent: SeenRequest) -> list[tuple[str, str | None, str, bytes]]:
    """The parts of a multipart body: name, file name, type and content of each."""
    whole = b"content-type: " + sent.headers["content-type"].encode() + b"\r\n\r\n" + sent.body
    parts = cast(list[EmailMessage], BytesParser(policy=HTTP).parsebytes(whole).get_payload())
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part.get_content_type(),
            cast(bytes, part.get_payload(decode=True)),
        )
        for part in parts
    ]


def fields_of(sent: SeenRequest) -> dict[str, str]:
    """The parts of a multipart body that are no files."""
    return {name: content.decode() for name, file_name, _type, content in form_of(sent) if file_name is None}


def serve(vendor: Vendor, answers: dict[str, tuple[int, str, bytes]]) -> None:
    """Answers by path: status, content type and body."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status, content_type, body = answers[vendor.requests[-1].path]
        head = f"HTTP/1.1 {status} -\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    vendor.answer = answer


async def plain_fetch(url: str, *, max_bytes: int, timeout_seconds: float) -> Fetched:
    """Keeps the contract of a fetch, for servers on loopback."""
    if not url.startswith("http://127.0.0.1:"):
        raise FetchRefused(f"not fetched: {url}")
    async with httpx2.AsyncClient(timeout=timeout_seconds, trust_env=False) as client:
        got = await client.get(url, headers={"connection": "close"})
    if got.status_code != 200 or len(got.content) > max_bytes:
        raise FetchFailed(f"{url}: {got.status_code}", is_final=got.status_code < 500, http_status=got.status_code)
    return Fetched(data=got.content, mime=got.headers.get("content-type"))


async def failure_of(provider: OpenAIProvider, asked: ImageRequest | None = None) -> ProviderError:
    """What submit raises, inside a call as the engine makes one."""
    with billable_call(timeout_seconds=60), pytest.raises(ProviderError) as caught:
        await provider.submit(asked or request())
    return caught.value
