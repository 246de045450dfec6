"""OpenAI's image models and every server that speaks the same protocol, over the official SDK, which the first call
imports.

What an answer becomes:

    200 with a picture, or the URL of one          ImageResult
    200 with an empty list of pictures             Refusal, code EMPTY_DATA: so some servers say no
    200 whose picture's URL cannot be read         INVALID_OUTPUT, billed yes; TEMPORARY when it may be there later:
                                                   its server stumbles, or is silent for as long as the call may take
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

import asyncio
import base64
import math
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import httpx2
from pydantic import ConfigDict, TypeAdapter, ValidationError

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, Cost
from safelight.net.billable import MAX_ANSWER_BYTES, CallNotSent, billable_client, current_call
from safelight.net.fetch import Fetch, Fetched, FetchFailed, FetchRefused
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
    ProviderError,
    Refusal,
)
from safelight.providers.registry import InvalidConfiguration, ProviderConfig

if TYPE_CHECKING:
    from openai import APIStatusError

    from safelight.providers.openai_client import Answer, OpenAIClient, Picture

DEFAULT_BASE_URL = "https://api.openai.com/v1"

_VENDOR_HOST = "api.openai.com"
_NO_KEY = "none"
"""Sent to a server that wants no key: the SDK cannot send a request without one."""

_TELL_SECONDS = 0.5
"""Chosen: so long before the call's deadline a picture that does not come is given up, so that its cost is told."""

_REFUSALS = frozenset({"MODERATION_BLOCKED", "CONTENT_POLICY_VIOLATION"})
_ACCOUNT_SPENT = frozenset({"INSUFFICIENT_QUOTA", "BILLING_HARD_LIMIT_REACHED", "BILLING_NOT_ACTIVE"})

# Fields of the body that the adapter itself fills: the operator's would replace them, and buy something else.
_OURS = frozenset({"model", "prompt", "n", "size", "quality", "image", "mask", "stream", "seed"})

_MASKED_KEY = re.compile(r"[\w-]*\*{3,}[\w-]*")

_BASE64 = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))


class OpenAIProvider(ImageProvider):
    """One API key at OpenAI, or one server that speaks the same protocol."""

    default_base_url = DEFAULT_BASE_URL
    key_variable = "OPENAI_API_KEY"
    fetch_pauses_seconds: Sequence[float] = (0.5, 1.0, 3.0)
    """Before a picture behind an address, paid for, is asked for once more. Chosen."""

    def __init__(self, *, api_key: str | None, base_url: str, models: ModelTable, fetch: Fetch) -> None:
        self._api_key = api_key or ""
        self._models = models
        self._fetch = fetch
        self._http = billable_client()
        self._base_url = base_url
        self._client: OpenAIClient | None = None

    @classmethod
    def from_config(cls, name: str, config: ProviderConfig) -> Self:
        """With the model data that ships with the package, and the operator's. Raises InvalidConfiguration for a
        missing or impossible key (only OpenAI itself needs one), a base URL that is not http or https, and models
        that are described wrongly."""
        base_url = checked_url(name, config) or DEFAULT_BASE_URL
        needs_key = httpx2.URL(base_url).host.endswith(_VENDOR_HOST)
        api_key = (
            required_key(name, config, kind="openai", variable="OPENAI_API_KEY")
            if needs_key or config.api_key
            else None
        )
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
        client = await self._connected()
        try:
            answer = await client.send(request, model)
        except client.APIStatusError as error:
            outcome = self._of_status(error, request, model)
            if isinstance(outcome, Refusal):
                return outcome
            raise outcome from None
        # Without the cause, which may quote the prompt or the key.
        except client.APIConnectionError as error:
            # What the SDK wraps is the HTTP client's, or what the client let through of the TLS below it.
            cause = error.__cause__
            wrapped = cause if isinstance(cause, httpx2.HTTPError) else httpx2.ReadError(type(cause).__name__)
            raise self._without_status(wrapped, request) from None
        except (client.OpenAIError, *CALL_FAILURES) as error:
            raise self._without_status(error, request) from None
        return await self._outcome(answer, request, model)

    async def check_key(self) -> str | None:
        """What the server says against the key; None when it takes it. Costs nothing. Raises KeyNotChecked."""
        url = f"{self._base_url.rstrip('/')}/models"
        return await why_key_is_bad(url, headers={"authorization": f"Bearer {self._api_key or _NO_KEY}"})

    async def prepare(self) -> None:
        await self._connected()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _connected(self) -> OpenAIClient:
        """Imports the SDK in a thread, so that a worker's other images, and its beats, go on meanwhile."""
        if self._client is None:
            client = await asyncio.to_thread(_client_type)
            if self._client is None:  # no other call was faster
                self._client = client(api_key=self._api_key or _NO_KEY, base_url=self._base_url, http=self._http)
        return self._client

    async def _outcome(self, answer: Answer, request: ImageRequest, model: Model) -> ImageResult | Refusal:
        usage, picture, request_id = answer.usage, answer.picture, answer.request_id
        cost = openai_cost(
            usage,
            model=model,
            table=self._models,
            has_image=picture is not None,
            has_references=bool(request.inputs),
            size=answer.size or requested_size(request, model),
        )
        if picture is not None:
            data, mime = await self._bytes(picture, request, cost=cost, usage=usage, request_id=request_id)
            mime = mime or f"image/{answer.output_format or model.fields.get('output_format') or 'png'}"
            return ImageResult(data=data, claimed_mime=mime, cost=cost, usage=usage, request_id=request_id)
        is_charged = has_charge(usage)
        if answer.is_empty:
            return Refusal(
                code="EMPTY_DATA",
                message="the vendor answered with an empty list of pictures",
                billed=Billed.YES if is_charged else Billed.NO,
                cost=cost if is_charged else FREE,
                usage=usage,
                request_id=request_id,
            )
        raise ProviderError(
            self._without_secrets(_said(answer.more), request) or "the vendor answered without a picture",
            kind=ErrorKind.TEMPORARY,
            billed=Billed.YES if is_charged else Billed.UNKNOWN,
            code="EMPTY_ANSWER",
            http_status=200,
            request_id=request_id,
            cost=cost,
            usage=usage,
        )

    async def _bytes(
        self, picture: Picture, request: ImageRequest, *, cost: Cost, usage: Mapping[str, Any], request_id: str | None
    ) -> tuple[bytes, str | None]:
        """The file and the type that its server calls it. Raises ProviderError: it was made, and cannot be had."""
        try:
            if picture.base64:
                return _decoded(picture.base64), None
            fetched = await self._fetched(picture.url, request)
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

    async def _fetched(self, url: str, request: ImageRequest) -> Fetched:
        """It is paid for: while its server stumbles it is asked for again, for as long as the call may take. Raises
        FetchFailed, FetchRefused."""
        call = current_call()
        deadline = call.deadline if call is not None else time.monotonic() + request.timeout_seconds
        ends = deadline - _TELL_SECONDS
        pauses_seconds = iter(self.fetch_pauses_seconds)
        while True:
            left_seconds = max(ends - time.monotonic(), 0.0)
            try:
                return await self._fetch(url, max_bytes=MAX_ANSWER_BYTES, timeout_seconds=left_seconds)
            except FetchFailed as error:
                pause_seconds = next(pauses_seconds, math.inf)
                if error.is_final or time.monotonic() + pause_seconds >= ends:
                    raise
            await asyncio.sleep(pause_seconds)

    def _of_status(self, error: APIStatusError, request: ImageRequest, model: Model) -> ProviderError | Refusal:
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

    def _refusal(self, code: str, message: str, error: APIStatusError, request: ImageRequest, model: Model) -> Refusal:
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


def _client_type() -> type[OpenAIClient]:
    from safelight.providers.openai_client import OpenAIClient

    return OpenAIClient


def _decoded(text: str) -> bytes:
    """Raises ValueError. Pydantic needs a fifth of the standard library's time, and is stricter about the end. Neither
    takes lines, which is how MIME writes it, and some servers."""
    for written in (text, unbroken := "".join(text.split())):
        with suppress(ValidationError):
            return _BASE64.validate_strings(written)
    return base64.b64decode(unbroken, validate=True)


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


def _usage_beside(error: APIStatusError) -> dict[str, Any]:
    """The usage in an error's answer, if it counts any."""
    try:
        body = error.response.json()
    except ValueError:
        return {}
    usage = body.get("usage") if isinstance(body, dict) else None
    return usage if isinstance(usage, dict) else {}
