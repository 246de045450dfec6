"""OpenAI's image models and every server that speaks the same protocol, over the official SDK with everything it does
by itself switched off.

What an answer becomes:

    200 with a picture, or the URL of one          ImageResult
    200 with an empty list of pictures             Refusal, code EMPTY_DATA: so some servers say no
    200 whose picture's URL cannot be read         INVALID_OUTPUT, billed yes; TEMPORARY when it may be there later
    200 whose picture is no base64                 INVALID_OUTPUT, billed yes
    200 without pictures                           TEMPORARY, billed yes when the answer counts tokens, else unknown
    200 that is no JSON object                     TEMPORARY, billed unknown
    4xx moderation_blocked, content_policy_…       Refusal, unbilled unless the answer counts tokens
    4xx insufficient_quota, billing_…              PERMANENT, of the account, unbilled
    409                                            TEMPORARY, unbilled

and the rest as in `failures`.

A server of the operator's is told apart by `models` in its settings. Besides what every model has, an entry's `fields`
say how the server speaks:

    output_format       asked for with every picture: "png", "jpeg" or "webp"
    negative_prompt     the name under which the server takes one, if not `negative_prompt`
    aspect_ratio        the name under which it takes a ratio, if it takes ratios and not sizes
    body                what is sent with every request, as it is: { response_format = "b64_json", steps = 4 }
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any, Self

import httpx2
import openai
from openai import AsyncOpenAI, Omit, omit
from openai.types import Image, ImagesResponse
from openai.types.images_response import Usage
from pydantic import ConfigDict, TypeAdapter, ValidationError

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, Cost
from safelight.net.billable import MAX_ANSWER_BYTES, CallNotSent, billable_client
from safelight.net.fetch import Fetch, FetchFailed, FetchRefused
from safelight.providers.configuration import checked_url, model_table, required_key
from safelight.providers.failures import (
    CALL_FAILURES,
    buyable,
    failure_of_status,
    failure_without_status,
    vendor_code,
    without_secrets,
)
from safelight.providers.key_check import why_key_is_bad
from safelight.providers.models import Model, ModelTable
from safelight.providers.prices import estimated_cost, has_charge, openai_cost, requested_size
from safelight.providers.provider import (
    Capabilities,
    ImageProvider,
    ImageRequest,
    ImageResult,
    InputRole,
    ProviderError,
    Refusal,
)
from safelight.providers.registry import InvalidConfiguration, ProviderConfig

DEFAULT_BASE_URL = "https://api.openai.com/v1"

_VENDOR_HOST = "api.openai.com"
_NO_KEY = "none"
"""Sent to a server that wants no key: the SDK cannot send a request without one."""

_REFUSALS = frozenset({"MODERATION_BLOCKED", "CONTENT_POLICY_VIOLATION"})
_ACCOUNT_SPENT = frozenset({"INSUFFICIENT_QUOTA", "BILLING_HARD_LIMIT_REACHED", "BILLING_NOT_ACTIVE"})

# Fields of the body that the adapter itself fills: the operator's would replace them, and buy something else.
_OURS = frozenset({"model", "prompt", "n", "size", "quality", "image", "mask", "stream", "seed"})

_MASKED_KEY = re.compile(r"[\w-]*\*{3,}[\w-]*")
_DATA_URI = re.compile(r"data:[\w.+/-]*(?:;[\w=-]+)*;base64,", re.ASCII)

_BASE64 = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))


class _Client(AsyncOpenAI):
    """The SDK's client without what it takes from the environment and offers no argument for."""

    def __init__(self, *, api_key: str, base_url: str, http_client: httpx2.AsyncClient) -> None:
        super().__init__(api_key=api_key, base_url=base_url, max_retries=0, http_client=http_client)
        self.organization = self.project = self.admin_api_key = None
        self._custom_headers = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """Where an answer has its picture: inline, or else behind an address."""

    base64: str
    url: str


class OpenAIProvider(ImageProvider):
    """One API key at OpenAI, or one server that speaks the same protocol."""

    default_base_url = DEFAULT_BASE_URL
    key_variable = "OPENAI_API_KEY"

    def __init__(self, *, api_key: str | None, base_url: str, models: ModelTable, fetch: Fetch) -> None:
        self._api_key = api_key or ""
        self._models = models
        self._fetch = fetch
        self._http = billable_client()
        self._client = _Client(api_key=api_key or _NO_KEY, base_url=base_url, http_client=self._http)

    @classmethod
    def from_config(cls, name: str, config: ProviderConfig) -> Self:
        """With the model data that ships with the package, and the operator's. Raises InvalidConfiguration for a
        missing or impossible key (only OpenAI itself needs one), a base URL that is not http or https, and models
        that are described wrongly."""
        base_url = checked_url(name, config) or DEFAULT_BASE_URL
        try:
            needs_key = httpx2.URL(base_url).host.endswith(_VENDOR_HOST)
        except httpx2.InvalidURL as error:
            raise InvalidConfiguration(f"the base URL of provider `{name}` is none: {error}") from error
        api_key = required_key(name, config, kind="openai") if needs_key or config.api_key else None
        models = model_table(name, config, "openai")
        for model in config.models:
            _check_fields(name, models.find(model))
        return cls(api_key=api_key, base_url=base_url, models=models, fetch=config.fetch)

    def models(self) -> tuple[str, ...]:
        return tuple(self._models.models)

    def capabilities(self, model: str) -> Capabilities:
        return self._models.find(model).capabilities

    def estimate(self, request: ImageRequest) -> Cost:
        return estimated_cost(request, model=self._models.find(request.model), table=self._models)

    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        model = buyable(request, self._models)
        try:
            answer = await self._send(request, model)
            if not isinstance(answer, ImagesResponse):
                raise ValueError("the answer is no JSON object")
        except openai.APIStatusError as error:
            outcome = self._of_status(error, request, model)
            if isinstance(outcome, Refusal):
                return outcome
            raise outcome from None
        except (openai.OpenAIError, *CALL_FAILURES) as error:
            # Without the cause, which may quote the prompt or the key.
            raise self._without_status(error, request) from None
        return await self._outcome(answer, request, model)

    async def check_key(self) -> str | None:
        """What the server says against the key; None when it takes it. Costs nothing. Raises KeyNotChecked."""
        url = f"{str(self._client.base_url).rstrip('/')}/models"
        return await why_key_is_bad(url, headers={"authorization": f"Bearer {self._api_key or _NO_KEY}"})

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _send(self, request: ImageRequest, model: Model) -> object:
        """The one request. The answer is typed as what the SDK claims, which it does not check."""
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
            return await self._client.images.generate(**asked)
        return await self._client.images.edit(image=_references(request), mask=_mask(request), **asked)

    async def _outcome(self, answer: ImagesResponse, request: ImageRequest, model: Model) -> ImageResult | Refusal:
        usage, picture, request_id = _usage(answer), _picture(answer), answer._request_id
        cost = openai_cost(
            usage,
            model=model,
            table=self._models,
            has_image=picture is not None,
            has_references=bool(request.inputs),
            size=answer.size if isinstance(answer.size, str) else requested_size(request, model),
        )
        if picture is not None:
            data, mime = await self._bytes(picture, request, cost=cost, usage=usage, request_id=request_id)
            mime = mime or f"image/{answer.output_format or model.fields.get('output_format') or 'png'}"
            return ImageResult(data=data, claimed_mime=mime, cost=cost, usage=usage, request_id=request_id)
        is_charged = has_charge(usage)
        if isinstance(answer.data, list) and not answer.data:
            return Refusal(
                code="EMPTY_DATA",
                message="the vendor answered with an empty list of pictures",
                billed=Billed.YES if is_charged else Billed.NO,
                cost=cost if is_charged else FREE,
                usage=usage,
                request_id=request_id,
            )
        raise ProviderError(
            self._without_secrets(_said(answer.model_extra), request) or "the vendor answered without a picture",
            kind=ErrorKind.TEMPORARY,
            billed=Billed.YES if is_charged else Billed.UNKNOWN,
            code="EMPTY_ANSWER",
            http_status=200,
            request_id=request_id,
            cost=cost,
            usage=usage,
        )

    async def _bytes(
        self, picture: _Picture, request: ImageRequest, *, cost: Cost, usage: dict[str, Any], request_id: str | None
    ) -> tuple[bytes, str | None]:
        """The file and the type that its server calls it. Raises ProviderError: it was made, and cannot be had."""
        try:
            if picture.base64:
                return _decoded(picture.base64), None
            fetched = await self._fetch(
                picture.url, max_bytes=MAX_ANSWER_BYTES, timeout_seconds=request.timeout_seconds
            )
            return fetched.data, fetched.mime
        except (FetchFailed, FetchRefused, ValueError) as error:
            # Not with the address: it may carry a signature.
            is_passing = isinstance(error, FetchFailed) and not error.is_final
            raise ProviderError(
                "the picture is no base64"
                if picture.base64
                else f"the picture was not fetched: {type(error).__name__}",
                kind=ErrorKind.TEMPORARY if is_passing else ErrorKind.INVALID_OUTPUT,
                billed=Billed.YES,
                code="UNREADABLE_PICTURE" if picture.base64 else "PICTURE_NOT_FETCHED",
                http_status=200,
                request_id=request_id,
                cost=cost,
                usage=usage,
            ) from None

    def _of_status(self, error: openai.APIStatusError, request: ImageRequest, model: Model) -> ProviderError | Refusal:
        status = error.status_code
        code = vendor_code(error.code) or vendor_code(error.type)
        message = _MASKED_KEY.sub("[key]", _said(error.body))
        if code in _REFUSALS and 400 <= status < 500:
            return self._refusal(code, message, error, request, model)
        is_spent = code in _ACCOUNT_SPENT
        return failure_of_status(
            status,
            message,
            table=self._models,
            api_key=self._api_key,
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            headers=error.response.headers,
            code=code,
            kind=ErrorKind.PERMANENT if is_spent else ErrorKind.TEMPORARY if status == 409 else None,
            scope=Scope.ACCOUNT if is_spent else None,
            request_id=error.request_id,
        )

    def _refusal(
        self, code: str, message: str, error: openai.APIStatusError, request: ImageRequest, model: Model
    ) -> Refusal:
        usage = _usage_beside(error)
        is_charged = has_charge(usage)
        cost = openai_cost(usage, model=model, table=self._models, has_image=False, has_references=bool(request.inputs))
        return Refusal(
            code=code,
            message=self._without_secrets(message, request) or "the vendor's safety policy refused this",
            billed=Billed.YES if is_charged else Billed.NO,
            cost=cost if is_charged else FREE,
            usage=usage,
            request_id=error.request_id,
        )

    def _without_status(self, error: Exception, request: ImageRequest) -> ProviderError | CallNotSent:
        if isinstance(error, openai.APIConnectionError):
            # What the SDK wraps is the HTTP client's, or what the client let through of the TLS below it.
            cause = error.__cause__
            error = cause if isinstance(cause, httpx2.HTTPError) else httpx2.ReadError(type(cause).__name__)
        return failure_without_status(
            error, api_key=self._api_key, prompt=request.prompt, negative_prompt=request.negative_prompt
        )

    def _without_secrets(self, message: str, request: ImageRequest) -> str:
        return without_secrets(
            message, api_key=self._api_key, prompt=request.prompt, negative_prompt=request.negative_prompt
        )


def _check_fields(name: str, model: Model) -> None:
    """Raises InvalidConfiguration for a model that the operator describes so that no request for it can be right."""
    body, can = model.fields.get("body", {}), model.capabilities
    problem = None
    if not isinstance(body, dict) or body.keys() & _OURS:
        problem = f"`fields.body` must be a table without {', '.join(sorted(_OURS))}"
    elif (can.aspect_ratios or frozenset()) - model.sizes_by_ratio.keys() and "aspect_ratio" not in model.fields:
        problem = "every aspect ratio needs its size in `sizes_by_ratio`, or `fields.aspect_ratio` the ratio's own name"
    if problem is not None:
        raise InvalidConfiguration(f"provider `{name}`, model `{model.id}`: {problem}")


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


def _picture(answer: ImagesResponse) -> _Picture | None:
    """The first: one was asked for. Servers put an empty `url` beside the bytes, and the other way round."""
    first = answer.data[0] if isinstance(answer.data, list) and answer.data else None
    if not isinstance(first, Image):
        return None
    inline = first.b64_json if isinstance(first.b64_json, str) else ""
    url = first.url if isinstance(first.url, str) else ""
    uri = _DATA_URI.match(inline or url)
    if uri is not None:
        inline = (inline or url)[uri.end() :]
    return _Picture(base64=inline, url=url) if inline or url else None


def _decoded(text: str) -> bytes:
    """Raises ValueError. Pydantic needs a fifth of the standard library's time, and is stricter about the end."""
    try:
        return _BASE64.validate_strings(text)
    except ValidationError:
        return base64.b64decode(text, validate=True)


def _usage(answer: ImagesResponse) -> dict[str, Any]:
    """As on the wire."""
    usage = answer.usage
    return usage.to_dict(mode="json", exclude_none=True, warnings=False) if isinstance(usage, Usage) else {}


def _said(body: object) -> str:
    """The message in an error's body, of whichever shape; what cannot be one is left out."""
    match body:
        case str():
            return body
        case {"message": str(said)} | {"detail": str(said)} | {"error": str(said) | {"message": str(said)}}:
            return said
        case {"detail": [{"msg": str(said)}, *_]}:
            return said
        case _:
            return ""


def _usage_beside(error: openai.APIStatusError) -> dict[str, Any]:
    """The usage in an error's answer, if it counts any."""
    try:
        body = error.response.json()
    except ValueError:
        return {}
    usage = body.get("usage") if isinstance(body, dict) else None
    return usage if isinstance(usage, dict) else {}
