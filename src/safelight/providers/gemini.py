"""Google's Gemini image models, over the official SDK, which the first call imports.

What an answer becomes:

    200 with a picture                             ImageResult
    200 with a blockReason: nothing ran            Refusal, code = the vendor's; unbilled unless it counts tokens
    200 with a safety finish reason                Refusal, code = the vendor's reason *
    200 STOP with words only                       Refusal, code TEXT_ONLY: the model declines in prose *
    200 NO_IMAGE, IMAGE_OTHER, OTHER, empty, …     TEMPORARY *
    200 MAX_TOKENS                                 PERMANENT *
    200 PUP_LIMITED_DISABLED                       AUTH_ERROR of the account *
    200 any other finish reason                    UNKNOWN *
    200 that cannot be read                        TEMPORARY, billed unknown
    more than 64 MiB                               INVALID_OUTPUT, billed unknown
    429                                            RATE_LIMIT, unbilled; of the account for a daily quota, which
                                                   no other status can tell of
    400 API_KEY_INVALID, 401, 403                  AUTH_ERROR of the account, unbilled
    408 / other 4xx                                TIMEOUT / PERMANENT, unbilled
    504 / other 5xx                                TIMEOUT / TEMPORARY, billed unknown, but
                                                   unbilled by policy when the model data lists the status
    no connection                                  TEMPORARY, unbilled
    cut / silent connection                        TEMPORARY / TIMEOUT, billed unknown

    * billed yes when the answer counts tokens, else unknown
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, UNKNOWN_COST, Cost
from safelight.net.billable import billable_client
from safelight.providers import retry_after
from safelight.providers.configuration import checked_url, model_table, required_key
from safelight.providers.failures import (
    CALL_FAILURES,
    buyable,
    failure_of_status,
    failure_without_status,
    vendor_code,
)
from safelight.providers.key_check import why_key_is_bad
from safelight.providers.models import Model, ModelTable
from safelight.providers.prices import estimated_cost, gemini_cost, has_charge
from safelight.providers.provider import (
    Capabilities,
    ImageProvider,
    ImageRequest,
    ImageResult,
    ProviderError,
    Refusal,
)
from safelight.providers.redaction import redact
from safelight.providers.registry import ProviderConfig

if TYPE_CHECKING:
    from google.genai import errors, types

    from safelight.providers.gemini_client import GeminiClient

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


class GeminiProvider(ImageProvider):
    """One API key at Google, or at a server that speaks the same protocol."""

    default_base_url = DEFAULT_BASE_URL
    key_variable = "GEMINI_API_KEY"

    def __init__(self, *, api_key: str, base_url: str | None, models: ModelTable) -> None:
        self._api_key = api_key
        self._base_url = base_url or DEFAULT_BASE_URL
        self._models = models
        self._http = billable_client()
        self._client: GeminiClient | None = None

    @classmethod
    def from_config(cls, name: str, config: ProviderConfig) -> Self:
        """With the model data that ships with the package. Raises InvalidConfiguration for a missing or
        impossible key, a base URL that is not http or https, and models that are described wrongly."""
        api_key = required_key(name, config, kind="gemini", variable="GEMINI_API_KEY")
        return cls(api_key=api_key, base_url=checked_url(name, config), models=model_table(name, config, "gemini"))

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
            answer = await client.generate(request)
        # Without the cause: the SDK's error texts carry the whole answer, which may quote the prompt or the key.
        except client.APIError as error:
            raise self._from_status(error, request) from None
        except CALL_FAILURES as error:
            raise failure_without_status(error, api_key=self._api_key, prompt=request.prompt) from None
        return self._outcome(answer, request, model)

    async def check_key(self) -> str | None:
        """What Google says against the key; None when it takes it. Costs nothing. Raises KeyNotChecked."""
        url = f"{self._base_url.rstrip('/')}/v1/models?pageSize=1"
        return await why_key_is_bad(url, headers={"x-goog-api-key": self._api_key}, bad_word="API_KEY_INVALID")

    async def prepare(self) -> None:
        await self._connected()

    async def aclose(self) -> None:
        await self._http.aclose()
        if self._client is not None:
            self._client.close()

    async def _connected(self) -> GeminiClient:
        """Imports the SDK in a thread, so that a worker's other images, and its beats, go on meanwhile."""
        if self._client is None:
            client = await asyncio.to_thread(_client_type)
            if self._client is None:  # no other call was faster
                self._client = client(api_key=self._api_key, base_url=self._base_url, http=self._http)
        return self._client

    def _outcome(
        self, answer: types.GenerateContentResponse, request: ImageRequest, model: Model
    ) -> ImageResult | Refusal:
        picture, reason, usage = _picture(answer), _reason(answer), _usage(answer)
        cost = gemini_cost(usage, model=model, table=self._models, has_image=picture is not None)
        is_blocked = _block_reason(answer) is not None or reason in _SAFETY_FINISHES
        words = redact(_words(answer), api_key=self._api_key, prompt=request.prompt)
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
            billed, charge = _charge_of_refusal(answer, usage, cost)
            return Refusal(
                code=vendor_code(reason) or "SAFETY" if is_blocked else "TEXT_ONLY",
                message=words or "the vendor's safety policy refused this",
                billed=billed,
                cost=charge,
                usage=usage,
                request_id=answer.response_id,
            )
        kind = _kind_without_image(reason)
        raise ProviderError(
            words or "the vendor answered without a picture",
            kind=kind,
            scope=Scope.ACCOUNT if kind is ErrorKind.AUTH_ERROR else Scope.REQUEST,
            billed=Billed.YES if has_charge(usage) else Billed.UNKNOWN,
            code=(vendor_code(reason) if reason != "STOP" else None) or "EMPTY_ANSWER",
            http_status=200,
            request_id=answer.response_id,
            cost=cost,
            usage=usage,
        )

    def _from_status(self, error: errors.APIError, request: ImageRequest) -> ProviderError:
        details = list(_details(error))
        is_daily = error.code == 429 and any("PerDay" in quota for quota in _quota_ids(details))
        is_bad_key = any(detail.get("reason") == "API_KEY_INVALID" for detail in details)
        code, kind, scope = vendor_code(error.status), None, None
        if is_bad_key:
            code, kind = "API_KEY_INVALID", ErrorKind.AUTH_ERROR if error.code == 400 else None
        elif is_daily:
            code, scope = "DAILY_QUOTA", Scope.ACCOUNT
        waits = (retry_after.from_duration(detail.get("retryDelay")) for detail in details)
        return failure_of_status(
            error.code,
            str(error.message or ""),
            table=self._models,
            api_key=self._api_key,
            prompt=request.prompt,
            headers=error.response.headers if error.response is not None else {},
            code=code,
            kind=kind,
            scope=scope,
            quota_zone=self._models.quota_zone if is_daily else None,
            retry_after_seconds=next((wait for wait in waits if wait is not None), None),
        )


def _client_type() -> type[GeminiClient]:
    from safelight.providers.gemini_client import GeminiClient

    return GeminiClient


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


def _charge_of_refusal(answer: types.GenerateContentResponse, usage: dict[str, Any], cost: Cost) -> tuple[Billed, Cost]:
    """Without a count, only a prompt that was blocked is known to be free: everything else says that the model ran."""
    if has_charge(usage):
        return Billed.YES, cost
    return (Billed.NO, FREE) if _block_reason(answer) is not None else (Billed.UNKNOWN, UNKNOWN_COST)


def _kind_without_image(reason: str | None) -> ErrorKind:
    if reason is None or reason in _PASSING_FINISHES:
        return ErrorKind.TEMPORARY
    known = {"MAX_TOKENS": ErrorKind.PERMANENT, "PUP_LIMITED_DISABLED": ErrorKind.AUTH_ERROR}
    return known.get(reason, ErrorKind.UNKNOWN)


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
