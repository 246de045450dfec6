"""OpenAI's SDK, with everything it does by itself switched off.

Imported by a process's first call and not before: the SDK takes a second and 20 MB, which a process that only checks
requests, quotes prices and asks after keys never gets to use.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import openai.resources.images  # or else the first call does so, in the event loop
from openai import AsyncOpenAI, Omit, omit
from openai.types import Image, ImagesResponse
from openai.types.images_response import Usage

from safelight.providers.models import Model
from safelight.providers.prices import requested_size
from safelight.providers.provider import ImageRequest, InputRole

# At every call the SDK asks `sys.modules` for the older `httpx`, and breaks while another thread (Google's SDK, say)
# has imported half of it. Nobody can find half of what is whole by now.
with suppress(ImportError):
    importlib.import_module("httpx")

_DATA_URI = re.compile(r"data:[\w.+/-]*(?:;[\w=-]+)*;base64,", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Where an answer has its picture: inline, or else behind an address."""

    base64: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came with status 200. `usage` is as on the wire; `more` what the SDK does not know of.

    `is_empty`: it has a list of pictures, and none in it.
    """

    picture: Picture | None
    is_empty: bool
    usage: Mapping[str, Any]
    size: str | None
    output_format: str | None
    more: Mapping[str, Any] | None
    request_id: str | None


class OpenAIClient:
    """One server; it sends over `http`, which stays the caller's to close."""

    # What `send` raises: for an answer with the status of a failure, without an answer, and above both.
    APIStatusError = openai.APIStatusError
    APIConnectionError = openai.APIConnectionError
    OpenAIError = openai.OpenAIError

    def __init__(self, *, api_key: str, base_url: str, http: httpx2.AsyncClient) -> None:
        self._sdk = _Sdk(api_key=api_key, base_url=base_url, http_client=http)

    async def send(self, request: ImageRequest, model: Model) -> Answer:
        """The one request. Raises OpenAIError, and one of `CALL_FAILURES` when there is no answer or none to read."""
        answer = await self._images(request, model)
        if not isinstance(answer, ImagesResponse):
            raise ValueError("the answer is no JSON object")
        return Answer(
            picture=_picture(answer),
            is_empty=isinstance(answer.data, list) and not answer.data,
            usage=_usage(answer),
            size=answer.size if isinstance(answer.size, str) else None,
            output_format=answer.output_format,
            more=answer.model_extra,
            request_id=answer._request_id,
        )

    async def _images(self, request: ImageRequest, model: Model) -> object:
        """Typed as what the SDK claims, which it does not check."""
        asked: dict[str, Any] = {
            "model": request.model,
            "prompt": request.prompt,
            "n": 1,
            "size": requested_size(request, model) or omit,
            "quality": request.quality or omit,
            "output_format": model.fields.get("output_format") or omit,
            "extra_body": _extra_body(request, model) or None,
            "timeout": httpx2.Timeout(request.timeout_seconds),
        }
        if not request.inputs:
            return await self._sdk.images.generate(**asked)
        return await self._sdk.images.edit(image=_references(request), mask=_mask(request), **asked)


class _Sdk(AsyncOpenAI):
    """The SDK's client without what it takes from the environment and offers no argument for."""

    def __init__(self, *, api_key: str, base_url: str, http_client: httpx2.AsyncClient) -> None:
        super().__init__(api_key=api_key, base_url=base_url, max_retries=0, http_client=http_client)
        self.organization = self.project = self.admin_api_key = None
        self._custom_headers = {}


def _extra_body(request: ImageRequest, model: Model) -> dict[str, Any]:
    """What only compatible servers take."""
    fields = model.fields
    extra: dict[str, Any] = dict(fields.get("body", {}))
    if request.seed is not None:
        extra["seed"] = request.seed
    if request.negative_prompt is not None:
        extra[fields.get("negative_prompt", "negative_prompt")] = request.negative_prompt
    if request.aspect_ratio is not None and request.aspect_ratio not in model.sizes_by_ratio:
        extra[fields["aspect_ratio"]] = request.aspect_ratio
    return extra


def _references(request: ImageRequest) -> list[tuple[str, bytes, str]]:
    references = [given for given in request.inputs if given.role is InputRole.REFERENCE]
    return [
        (f"reference-{number}.{given.mime.rpartition('/')[2]}", given.data, given.mime)
        for number, given in enumerate(references, start=1)
    ]


def _mask(request: ImageRequest) -> tuple[str, bytes, str] | Omit:
    masks = (given for given in request.inputs if given.role is InputRole.MASK)
    return next((("mask.png", given.data, given.mime) for given in masks), omit)


def _picture(answer: ImagesResponse) -> Picture | None:
    """The first: one was asked for. Servers put an empty `url` beside the bytes, and the other way round."""
    first = answer.data[0] if isinstance(answer.data, list) and answer.data else None
    if not isinstance(first, Image):
        return None
    inline = first.b64_json if isinstance(first.b64_json, str) else ""
    url = first.url if isinstance(first.url, str) else ""
    uri = _DATA_URI.match(inline or url)
    if uri is not None:
        inline = (inline or url)[uri.end() :]
    return Picture(base64=inline, url=url) if inline or url else None


def _usage(answer: ImagesResponse) -> dict[str, Any]:
    usage = answer.usage
    return usage.to_dict(mode="json", exclude_none=True, warnings=False) if isinstance(usage, Usage) else {}
