"""Google's Gemini image models, over the official SDK with everything it does by itself switched off.

What an answer becomes:

    200 with a picture                             ImageResult
    200 blocked, or a safety finish reason         Refusal, code = the vendor's reason
    200 STOP with words only                       Refusal, code TEXT_ONLY: the model declines in prose
    200 NO_IMAGE, IMAGE_OTHER, OTHER, empty, …     TEMPORARY *
    200 MAX_TOKENS                                 PERMANENT *
    200 PUP_LIMITED_DISABLED                       AUTH_ERROR of the account *
    200 any other finish reason                    UNKNOWN *
    200 that cannot be read                        TEMPORARY, billed unknown
    more than 64 MiB                               INVALID_OUTPUT, billed unknown
    429                                            RATE_LIMIT, unbilled; of the account for a daily quota
    400 API_KEY_INVALID, 401, 403                  AUTH_ERROR of the account, unbilled
    408 / other 4xx                                TIMEOUT / PERMANENT, unbilled
    504 / other 5xx                                TIMEOUT / TEMPORARY, billed unknown, but
                                                   unbilled by policy when the model data lists the status
    no connection                                  TEMPORARY, unbilled
    cut / silent connection                        TEMPORARY / TIMEOUT, billed unknown

    * billed yes when the answer counts tokens, else unknown
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Self

import httpx2
from google import genai
from google.genai import errors, types

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, UNKNOWN_COST, Cost
from safelight.net.billable import AlreadySent, AnswerTooLarge, CallNotSent, billable_client, current_call
from safelight.providers import retry_after
from safelight.providers.models import Model, ModelTable, load_models
from safelight.providers.prices import estimated_cost, gemini_cost, has_charge
from safelight.providers.provider import (
    Capabilities,
    ImageProvider,
    ImageRequest,
    ImageResult,
    ProviderError,
    Refusal,
    UnknownModel,
)
from safelight.providers.redaction import redact
from safelight.providers.registry import InvalidConfiguration

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com/"

_SAFETY_FINISHES = frozenset(
    {
        "SAFETY",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "RECITATION",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "ESCALATION",
        "MODEL_ARMOR",
    }
)
_PASSING_FINISHES = frozenset({"STOP", "NO_IMAGE", "IMAGE_OTHER", "OTHER", "MALFORMED_RESPONSE"})

# Everything the SDK was seen to raise for a bad answer: its own errors, its HTTP client's, and what JSON and
# Pydantic say about a body of another shape. CallNotSent is not among them, and so passes through.
_SDK_FAILURES = (
    errors.APIError,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    AlreadySent,
    AnswerTooLarge,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RuntimeError,
)
_BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


class GeminiProvider(ImageProvider):
    """One API key at Google, or at a server that speaks the same protocol."""

    default_base_url = DEFAULT_BASE_URL

    def __init__(self, *, api_key: str, base_url: str | None, models: ModelTable) -> None:
        self._api_key = api_key
        self._models = models
        self._http = billable_client()
        # Each argument turns something off: the environment's Vertex switch, API version and base URL, a
        # silent change to aiohttp (which sends twice), and an infinite read timeout. Retry options stay
        # unset, which is one attempt. The client is kept: its models stop working once it is collected.
        self._client = genai.Client(
            enterprise=False,
            api_key=api_key,
            http_options=types.HttpOptions(
                base_url=base_url or DEFAULT_BASE_URL,
                api_version="v1",
                timeout=180_000,
                httpx_async_client=self._http,
            ),
        )

    @classmethod
    def from_config(cls, name: str, *, api_key: str | None, base_url: str | None) -> Self:
        """With the model data that ships with the package. Raises InvalidConfiguration for a missing or
        impossible key, and for a base URL that is not http or https."""
        if not api_key:
            raise InvalidConfiguration(f"provider `{name}` of kind `gemini` needs an API key")
        if not re.fullmatch(r"[!-~]+", api_key):
            raise InvalidConfiguration(
                f"the API key of provider `{name}` has a space or a character beyond ASCII in it"
            )
        if base_url is not None and not re.match(r"https?://[^/\s]", base_url):
            raise InvalidConfiguration(f"the base URL of provider `{name}` must begin with http:// or https://")
        return cls(api_key=api_key, base_url=base_url, models=load_models("gemini"))

    def capabilities(self, model: str) -> Capabilities:
        return self._models.find(model).capabilities

    def estimate(self, request: ImageRequest) -> Cost:
        return estimated_cost(request.prompt, model=self._models.find(request.model), table=self._models)

    async def submit(self, request: ImageRequest) -> ImageResult | Refusal:
        model = self._buyable(request)
        try:
            answer = await self._client.aio.models.generate_content(
                model=request.model, contents=request.prompt, config=_config(request)
            )
        except _SDK_FAILURES as error:
            # Without the cause: the SDK's error texts carry the whole answer, which may quote the prompt or
            # the key.
            raise self._failure(error, request) from None
        return self._outcome(answer, request, model)

    async def aclose(self) -> None:
        await self._http.aclose()
        self._client.close()

    def _buyable(self, request: ImageRequest) -> Model:
        """The model, when it can do what is asked: the vendor would drop an option it lacks, and charge."""
        try:
            model = self._models.find(request.model)
        except UnknownModel as error:
            raise _refused_here("UNKNOWN_MODEL", str(error)) from error
        can = model.capabilities
        if can.retired_on is not None:
            problem = f"`{model.id}` was switched off by the vendor on {can.retired_on}"
            raise _refused_here("MODEL_RETIRED", problem)
        if request.aspect_ratio is not None and request.aspect_ratio not in (can.aspect_ratios or ()):
            problem = f"`{model.id}` has no aspect ratio {request.aspect_ratio}"
            raise _refused_here("UNSUPPORTED_OPTION", problem)
        if request.size is not None:
            raise _refused_here("UNSUPPORTED_OPTION", f"`{model.id}` takes an aspect ratio, not a size")
        if request.negative_prompt is not None:
            raise _refused_here("UNSUPPORTED_OPTION", f"`{model.id}` takes no negative prompt")
        return model

    def _outcome(
        self, answer: types.GenerateContentResponse, request: ImageRequest, model: Model
    ) -> ImageResult | Refusal:
        picture, reason, usage = _picture(answer), _reason(answer), _usage(answer)
        cost = gemini_cost(usage, model=model, table=self._models, has_image=picture is not None)
        is_blocked = _block_reason(answer) is not None or reason in _SAFETY_FINISHES
        words = self._redact(_words(answer), request)
        if picture is not None and not is_blocked:
            data, claimed_mime = picture
            return ImageResult(
                data=data,
                claimed_mime=claimed_mime,
                cost=cost,
                usage=usage,
                request_id=answer.response_id,
                model_version=answer.model_version,
            )
        if is_blocked or (reason == "STOP" and words):
            is_charged = has_charge(usage)
            return Refusal(
                code=_code(reason, default="SAFETY") if is_blocked else "TEXT_ONLY",
                message=words or "the vendor's safety policy refused this",
                billed=Billed.YES if is_charged else Billed.NO,
                cost=cost if is_charged else FREE,
                usage=usage,
                request_id=answer.response_id,
            )
        kind = _kind_without_image(reason)
        raise ProviderError(
            words or "the vendor answered without a picture",
            kind=kind,
            scope=Scope.ACCOUNT if kind is ErrorKind.AUTH_ERROR else Scope.REQUEST,
            billed=Billed.YES if has_charge(usage) else Billed.UNKNOWN,
            code=_code(None if reason == "STOP" else reason, default="EMPTY_ANSWER"),
            http_status=200,
            request_id=answer.response_id,
            cost=cost,
            usage=usage,
        )

    def _failure(self, error: Exception, request: ImageRequest) -> ProviderError | CallNotSent:
        call = current_call()
        if call is not None and call.was_refused:
            return CallNotSent("the attempt's deadline passed before its first byte was sent")
        if isinstance(error, errors.APIError):
            return self._from_status(error, request)
        never_left = not call.has_left if call is not None else isinstance(error, _BEFORE_SENDING)
        kind, code = _without_status(error, never_left=never_left)
        # What JSON and Pydantic say quotes the answer; what the HTTP client says is about the connection.
        said = f": {error}" if isinstance(error, httpx2.HTTPError | AnswerTooLarge) else ""
        return ProviderError(
            self._redact(f"{type(error).__name__}{said}", request),
            kind=kind,
            billed=Billed.NO if never_left else Billed.UNKNOWN,
            code=code,
            cost=FREE if never_left else UNKNOWN_COST,
        )

    def _from_status(self, error: errors.APIError, request: ImageRequest) -> ProviderError:
        status = error.code
        details = list(_details(error))
        is_daily = any("PerDay" in quota for quota in _quota_ids(details))
        is_bad_key = any(detail.get("reason") == "API_KEY_INVALID" for detail in details)
        is_of_policy = status in self._models.unbilled_statuses
        is_unbilled = 400 <= status < 500 or is_of_policy
        kind = ErrorKind.AUTH_ERROR if is_bad_key and status == 400 else _kind_of_status(status)
        is_of_account = kind is ErrorKind.AUTH_ERROR or (kind is ErrorKind.RATE_LIMIT and is_daily)
        code = _code(error.status, default=f"HTTP_{status}")
        if is_bad_key:
            code = "API_KEY_INVALID"
        elif is_daily:
            code = "DAILY_QUOTA"
        waits = (retry_after.from_duration(detail.get("retryDelay")) for detail in details)
        headers = error.response.headers if error.response is not None else {}
        return ProviderError(
            self._redact(str(error.message or f"HTTP {status}"), request),
            kind=kind,
            scope=Scope.ACCOUNT if is_of_account else Scope.REQUEST,
            billed=Billed.NO if is_unbilled else Billed.UNKNOWN,
            unbilled_by_policy=is_of_policy,
            code=code,
            http_status=status,
            retry_after_seconds=next((wait for wait in waits if wait is not None), None)
            or retry_after.from_headers(headers),
            cost=FREE if is_unbilled else UNKNOWN_COST,
        )

    def _redact(self, message: str, request: ImageRequest) -> str:
        return redact(message, api_key=self._api_key, prompt=request.prompt)


def _refused_here(code: str, problem: str) -> ProviderError:
    return ProviderError(problem, kind=ErrorKind.PERMANENT, billed=Billed.NO, code=code, cost=FREE)


def _config(request: ImageRequest) -> types.GenerateContentConfig:
    ratio = request.aspect_ratio
    return types.GenerateContentConfig(
        response_modalities=["IMAGE"],
        image_config=types.ImageConfig(aspect_ratio=ratio) if ratio is not None else None,
        seed=request.seed,
        automatic_continuation=False,
        http_options=types.HttpOptions(timeout=max(1, round(request.timeout_seconds * 1000))),
    )


def _picture(answer: types.GenerateContentResponse) -> tuple[bytes, str] | None:
    for part in _parts(answer):
        if part.inline_data is not None and part.inline_data.data:
            return part.inline_data.data, part.inline_data.mime_type or "application/octet-stream"
    return None


def _words(answer: types.GenerateContentResponse) -> str:
    return " ".join(part.text.strip() for part in _parts(answer) if part.text and part.text.strip())


def _parts(answer: types.GenerateContentResponse) -> Iterator[types.Part]:
    """Without the thoughts, which may hold drafts of the picture."""
    candidates = answer.candidates or []
    content = candidates[0].content if candidates else None
    return (part for part in (content.parts if content else None) or () if not part.thought)


def _usage(answer: types.GenerateContentResponse) -> dict[str, Any]:
    """As on the wire."""
    metadata = answer.usage_metadata
    return metadata.model_dump(by_alias=True, mode="json", exclude_none=True) if metadata else {}


def _reason(answer: types.GenerateContentResponse) -> str | None:
    if (blocked := _block_reason(answer)) is not None:
        return blocked
    finish = answer.candidates[0].finish_reason if answer.candidates else None
    return finish.value if finish is not None else None


def _block_reason(answer: types.GenerateContentResponse) -> str | None:
    feedback = answer.prompt_feedback
    return feedback.block_reason.value if feedback is not None and feedback.block_reason is not None else None


def _kind_without_image(reason: str | None) -> ErrorKind:
    if reason is None or reason in _PASSING_FINISHES:
        return ErrorKind.TEMPORARY
    known = {"MAX_TOKENS": ErrorKind.PERMANENT, "PUP_LIMITED_DISABLED": ErrorKind.AUTH_ERROR}
    return known.get(reason, ErrorKind.UNKNOWN)


def _without_status(error: Exception, *, never_left: bool) -> tuple[ErrorKind, str]:
    """For a failure that is not an HTTP status: nothing, or nothing readable, came back."""
    match error:
        case httpx2.HTTPError() if never_left:
            return ErrorKind.TEMPORARY, "CONNECT_FAILED"
        case _ if never_left:
            return ErrorKind.PERMANENT, "INVALID_REQUEST"
        case httpx2.TimeoutException():
            return ErrorKind.TIMEOUT, "NO_ANSWER"
        case AnswerTooLarge():
            return ErrorKind.INVALID_OUTPUT, "ANSWER_TOO_LARGE"
        case httpx2.DecodingError() | ValueError() | TypeError() | AttributeError() | LookupError():
            return ErrorKind.TEMPORARY, "UNREADABLE_ANSWER"
        case httpx2.HTTPError():
            return ErrorKind.TEMPORARY, "CONNECTION_LOST"
        case _:
            return ErrorKind.UNKNOWN, "CLIENT_FAILED"


def _kind_of_status(status: int) -> ErrorKind:
    match status:
        case 429:
            return ErrorKind.RATE_LIMIT
        case 401 | 403:
            return ErrorKind.AUTH_ERROR
        case 408 | 504:
            return ErrorKind.TIMEOUT
        case _ if 400 <= status < 500:
            return ErrorKind.PERMANENT
        case _ if status >= 500:
            return ErrorKind.TEMPORARY
        case _:
            return ErrorKind.UNKNOWN


def _details(error: errors.APIError) -> Iterator[dict[str, Any]]:
    """The `google.rpc` details, which the SDK leaves unparsed; nothing for a body of another shape."""
    body = error.details if isinstance(error.details, dict) else {}
    inner = body.get("error")
    details = inner.get("details") if isinstance(inner, dict) else None
    return (detail for detail in (details if isinstance(details, list) else ()) if isinstance(detail, dict))


def _quota_ids(details: list[dict[str, Any]]) -> Iterator[str]:
    for detail in details:
        violations = detail.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            if isinstance(violation, dict):
                yield str(violation.get("quotaId"))


def _code(vendor_word: str | None, *, default: str) -> str:
    """The vendor's own code when it is one: a proxy puts "Bad Gateway" or a page in its place."""
    return vendor_word if vendor_word and re.fullmatch(r"[A-Z][A-Z0-9_]{1,63}", vendor_word) else default
