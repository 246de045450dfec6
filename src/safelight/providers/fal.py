"""Models on fal, over its queue; every call is a job.

The queue's own retries are off (`x-fal-no-retry`), so that one attempt is one run. Nothing is said about how long a job
may wait for its start (`x-fal-request-timeout`): it would only go back to the end of the queue.

What the job becomes, from its status and then, once that is COMPLETED, from its result:

    IN_QUEUE, IN_PROGRESS                          StillRunning
    any other status                               PollFailed UNKNOWN
    200 with a picture                             ImageResult
    200, has_nsfw_concepts                         Refusal NSFW, billed yes: a black picture is paid for too
    200 without a picture                          INVALID_OUTPUT, EMPTY_ANSWER, billed yes, but
                                                   unbilled by policy when it counts no units
    content_policy_violation                       Refusal *
    client_cancelled, client_disconnected          TEMPORARY, CANCELED, billed unknown
    runner_*, internal_*, downstream_*             TEMPORARY *
    *_timeout                                      TIMEOUT *
    any other error                                by its HTTP status: 5xx TEMPORARY, 4xx PERMANENT *

    * of a 5xx: unbilled, which is fal's policy for any of them; else billed unknown: a 422 may be charged for.
      `x-fal-retryable`, where it is sent, decides between TEMPORARY and PERMANENT

An error in the result's place is the job's own when the model says it, when the status has said that there was one, or
when it is a 4xx that names it and could not be about the key, the balance or the rate. Any other comes from fal's front
door and says nothing of the job, whose picture may be waiting, paid for: PollFailed. A job that was canceled while it
waited has never run, but its answer is that of one that was stopped in the middle (or that of no job at all), and so it
too is billed unknown.

Where the answer is about the request or the account:

    403 over the balance                           PERMANENT of the account, NO_CREDIT, unbilled
    422 content_policy_violation to the POST       Refusal, unbilled: nothing has run
    anything else                                  as in `failures`, and in `remote` for a poll

Beyond the names in `remote_input`, a model's `fields` may give `size` (the field for the shape, if it is not
`image_size`), `size_names` (a name of the vendor's by ratio, sent in place of width and height) and `aspect_ratio` (the
field of a model that takes the ratio itself).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Self
from urllib.parse import quote

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, MOST_USD, Cost, CostBasis, microusd
from safelight.providers import retry_after
from safelight.providers.configuration import checked_url, model_table, required_key
from safelight.providers.failures import buyable, kind_of_status, refused_here, vendor_code
from safelight.providers.models import Model
from safelight.providers.prices import table_cost, table_estimate
from safelight.providers.provider import (
    Capabilities,
    ImageRequest,
    ImageResult,
    PollFailed,
    ProviderError,
    Refusal,
    RemoteCancellation,
    RemoteHandle,
    RemoteProvider,
    StillRunning,
)
from safelight.providers.registry import ProviderConfig
from safelight.providers.remote import (
    Answer,
    PaidJob,
    RemoteAccount,
    figures,
    model_of,
    side_px,
    unpriced,
)
from safelight.providers.remote_input import Pixels, model_input, remote_models, requested_pixels

DEFAULT_BASE_URL = "https://queue.fal.run"

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_RUNNING = ("IN_QUEUE", "IN_PROGRESS")
_UNITS = re.compile(r"\d{1,6}(?:\.\d{1,9})?", re.ASCII)
_SUFFIXES = {"status": "/status", "response": "", "cancel": "/cancel"}
_NAMESPACES = ("workflows", "comfy")
_JOB_PATH = re.compile(r"/((?:(?:workflows|comfy)/)?[\w.~%-]+/[\w.~%-]+)/requests/[^/]+(?:/[a-z]+)?", re.ASCII)

_MEGAPIXEL = 1024 * 1024
"""So that 1024x1024 is one and 1920x1080 are two: https://fal.ai/models/fal-ai/flux-2-flex."""

_POLICY = "content_policy_violation"
_STOPPED = ("client_cancelled", "client_disconnected")
_OF_THE_QUESTION = (401, 402, 403, 404, 410, 429)
_PASSING = ("runner_", "internal_", "downstream_")


class FalProvider(RemoteProvider):
    """One API key at fal, or at a server that speaks the same protocol."""

    default_base_url = DEFAULT_BASE_URL
    key_variable = "FAL_KEY"

    def __init__(self, account: RemoteAccount) -> None:
        self._account = account
        self._models = account.table

    @classmethod
    def from_config(cls, name: str, config: ProviderConfig) -> Self:
        """With the model data that ships with the package. Raises InvalidConfiguration for a missing or
        impossible key, a base URL that is not http or https, and models that are described wrongly."""
        api_key = required_key(name, config, kind="fal", variable="FAL_KEY")
        return cls(
            RemoteAccount(
                base_url=checked_url(name, config) or DEFAULT_BASE_URL,
                authorization=f"Key {api_key}",
                api_key=api_key,
                table=remote_models(name, model_table(name, config, "fal")),
                fetch=config.fetch,
            )
        )

    def models(self) -> tuple[str, ...]:
        return tuple(self._models.models)

    def capabilities(self, model: str) -> Capabilities:
        return self._models.find(model).capabilities

    def estimate(self, request: ImageRequest) -> Cost:
        model = self._models.find(request.model)
        megapixels = _megapixels(requested_pixels(request, model))
        return self._by_megapixels(model, megapixels, CostBasis.ESTIMATE) or table_estimate(
            request, model=model, table=self._models
        )

    async def submit(self, request: ImageRequest) -> Refusal | RemoteHandle:
        model = buyable(request, self._models)
        asked = await model_input(request, model) | _shape(request, model)
        answer = await self._account.buy(f"/{quote(model.id)}", asked, request=request, headers={"x-fal-no-retry": "1"})
        accepted = answer.body or {}
        remote_id = accepted.get("request_id") or answer.headers.get("x-fal-request-id")
        if answer.is_success and isinstance(remote_id, str) and _ID.fullmatch(remote_id):
            app = _app(model.id)
            return RemoteHandle(
                remote_id=remote_id,
                urls={
                    name: self._account.own(accepted.get(f"{name}_url")) or self._url(app, remote_id, name)
                    for name in _SUFFIXES
                },
            )
        if answer.status == 422 and _POLICY in _error_types(answer):
            return self._refusal(answer, request, billed=Billed.NO, cost=FREE)
        kind, scope, code = _about_the_account(answer)
        code = code or vendor_code(next(iter(_error_types(answer)), None))
        raise self._account.not_accepted(answer, request=request, kind=kind, scope=scope, code=code)

    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        answer = await self._account.ask("GET", self._own_url(handle, "status", request), prompt=request.prompt)
        body = answer.body or {}
        status = body.get("status")
        if answer.status not in (200, 202) or not isinstance(status, str):
            raise self._not_told(answer, request)
        if status in _RUNNING:
            return StillRunning(after_seconds=retry_after.from_headers(answer.headers))
        if status != "COMPLETED":
            message = self._redacted(f"the job's status is `{status}`", request)
            raise PollFailed(message, kind=ErrorKind.UNKNOWN, code="UNKNOWN_STATUS", http_status=answer.status)
        result = await self._account.ask("GET", self._own_url(handle, "response", request), prompt=request.prompt)
        if result.status == 202:
            return StillRunning(after_seconds=retry_after.from_headers(result.headers))
        if result.status == 200 and result.body is not None and not (_error_types(answer) and not _images(result)):
            return await self._picture(result, body, handle.remote_id, request)
        return self._failed(result, answer, handle.remote_id, request)

    async def cancel(self, handle: RemoteHandle) -> RemoteCancellation:
        url = self._account.own(handle.urls.get("cancel"))
        if url is None:
            app = next((match[1] for each in handle.urls.values() if (match := _JOB_PATH.search(each))), None)
            if app is None:
                return RemoteCancellation.UNSUPPORTED
            url = self._url(app, handle.remote_id, "cancel")
        answer = await self._account.ask("PUT", url, prompt="")
        if answer.is_success:
            return RemoteCancellation.REQUESTED
        is_over = answer.status == 400 and "ALREADY_COMPLETED" in ((answer.body or {}).get("status"), answer.said)
        if is_over or answer.status in (404, 410):
            return RemoteCancellation.TOO_LATE
        raise self._not_told(answer)

    async def aclose(self) -> None:
        await self._account.aclose()

    def _own_url(self, handle: RemoteHandle, name: str, request: ImageRequest) -> str:
        """The handle's, unless it is not of this account's address (any more): the key goes nowhere else."""
        own = self._account.own(handle.urls.get(name))
        return own or self._url(_app(request.model), handle.remote_id, name)

    def _url(self, app: str, remote_id: str, name: str) -> str:
        return self._account.url(f"/{app}/requests/{quote(remote_id, safe='')}{_SUFFIXES[name]}")

    async def _picture(
        self, result: Answer, status: Mapping[str, Any], remote_id: str, request: ImageRequest
    ) -> ImageResult | Refusal:
        model = model_of(self._models, request.model)
        images = _images(result)
        image = next(iter(images), None)
        pixels = (
            Pixels(None, None) if image is None else Pixels(side_px(image.get("width")), side_px(image.get("height")))
        )
        units = result.headers.get("x-fal-billable-units", "").strip()
        usage = figures(status.get("metrics")) | {
            name: value
            for name, value in {"width": pixels.width, "height": pixels.height, "billable_units": units}.items()
            if value
        }
        made = len({str(each["url"]) for each in images})
        cost = self._cost(model, units, pixels if None not in pixels else requested_pixels(request, model), made=made)
        paid = PaidJob(remote_id=remote_id, cost=cost, usage=usage)
        if _is_flagged(result):
            return Refusal(
                code="NSFW",
                message="the vendor's safety filter flagged the picture and blackened it",
                billed=Billed.YES,
                cost=cost,
                usage=usage,
                request_id=remote_id,
            )
        if image is None:
            raise paid.unusable("EMPTY_ANSWER", "the job succeeded without a picture", is_free=_is_zero(units))
        data, mime = await self._account.picture(image.get("url"), paid=paid)
        claimed = image.get("content_type")
        return ImageResult(
            data=data,
            claimed_mime=mime or (claimed if isinstance(claimed, str) and claimed else "application/octet-stream"),
            cost=cost,
            usage=usage,
            request_id=remote_id,
        )

    def _cost(self, model: Model, counted: str, pixels: Pixels, *, made: int) -> Cost:
        """By the vendor's count where it is given, else by the size of the first picture, as often as there are."""
        units = Decimal(counted) if _UNITS.fullmatch(counted) else None
        if units:
            return self._by_megapixels(model, units, CostBasis.USAGE) or table_cost(model, self._models, units=units)
        each = self._by_megapixels(model, _megapixels(pixels), CostBasis.TABLE) or table_cost(
            model, self._models, width_px=pixels.width, height_px=pixels.height
        )
        return each if each.microusd is None else Cost(each.microusd * max(made, 1), each.basis, each.price_ref)

    def _by_megapixels(self, model: Model, megapixels: Decimal | None, basis: CostBasis) -> Cost | None:
        """Of a model that is sold by them, which are then its units as well."""
        price = model.price
        if not megapixels or price is None or price.megapixel_usd is None or price.unit_usd is not None:
            return None
        usd = price.megapixel_usd * megapixels
        return Cost(microusd(usd), basis, self._models.price_ref_of(model)) if usd <= MOST_USD else None

    def _failed(self, result: Answer, status: Answer, remote_id: str, request: ImageRequest) -> Refusal:
        """The job's own failure, or PollFailed when the result does not tell of one."""
        words = _error_types(result) or _error_types(status)
        if not _is_of_job(result, status):
            raise self._not_told(result, request)
        is_free = result.status >= 500
        billed, cost = unpriced(is_free=is_free)
        if _POLICY in words:
            return self._refusal(result, request, billed=billed, cost=cost, remote_id=remote_id)
        word = next(iter(words), "")
        said = result.said or status.said or word or f"HTTP {result.status}"
        raise ProviderError(
            self._redacted(said, request),
            kind=_kind(word, result),
            billed=billed,
            unbilled_by_policy=is_free,
            code="CANCELED" if word in _STOPPED else vendor_code(word) or f"HTTP_{result.status}",
            http_status=result.status,
            request_id=remote_id,
            cost=cost,
        )

    def _refusal(
        self, answer: Answer, request: ImageRequest, *, billed: Billed, cost: Cost, remote_id: str | None = None
    ) -> Refusal:
        said = answer.said or "the vendor's content policy refused this"
        return Refusal(
            code=_POLICY.upper(),
            message=self._redacted(said, request),
            billed=billed,
            cost=cost,
            request_id=remote_id,
        )

    def _not_told(self, answer: Answer, request: ImageRequest | None = None) -> ProviderError | PollFailed:
        kind, scope, code = _about_the_account(answer)
        return self._account.not_told(
            answer,
            prompt=request.prompt if request else "",
            negative_prompt=request.negative_prompt if request else None,
            kind=kind,
            scope=scope,
            code=code,
        )

    def _redacted(self, message: str, request: ImageRequest) -> str:
        return self._account.redacted(message, prompt=request.prompt, negative_prompt=request.negative_prompt)


def _app(model: str) -> str:
    """What a model's jobs are found under: its owner and alias, without the path of the endpoint."""
    parts = model.split("/")
    return quote("/".join(parts[: 3 if parts[0] in _NAMESPACES else 2]))


def _shape(request: ImageRequest, model: Model) -> dict[str, Any]:
    fields, ratio = model.fields, request.aspect_ratio
    field = fields.get("size", "image_size")
    pixels = requested_pixels(request, model)
    if ratio is not None and ratio in fields.get("size_names", {}):
        return {field: fields["size_names"][ratio]}
    if pixels.width is not None:
        return {field: {"width": pixels.width, "height": pixels.height}}
    if ratio is not None and "aspect_ratio" in fields:
        return {fields["aspect_ratio"]: ratio}
    if ratio is not None or request.size is not None:
        raise refused_here("UNSUPPORTED_OPTION", f"`{model.id}` has no field for {ratio or request.size}")
    return {}


def _megapixels(pixels: Pixels) -> Decimal | None:
    """Started ones, which is how they are counted."""
    if pixels.width is None or pixels.height is None:
        return None
    return Decimal(-(-pixels.width * pixels.height // _MEGAPIXEL))


def _is_zero(counted: str) -> bool:
    """Whether the vendor counted, and found nothing to charge for."""
    return bool(_UNITS.fullmatch(counted)) and not Decimal(counted)


def _images(result: Answer) -> list[Mapping[str, Any]]:
    """Of a result that lists its pictures as `images`, or has one `image`."""
    body = result.body or {}
    images = body.get("images")
    listed = images if isinstance(images, list) else [body.get("image")]
    return [each for each in listed if isinstance(each, dict) and each.get("url")]


def _is_flagged(result: Answer) -> bool:
    flags = (result.body or {}).get("has_nsfw_concepts")
    return isinstance(flags, list) and bool(flags) and flags[0] is True


def _error_types(answer: Answer) -> list[str]:
    """The vendor's words for what went wrong: those of the model, else that of the queue."""
    body = answer.body or {}
    detail = body.get("detail")
    types = [each.get("type") for each in detail if isinstance(each, dict)] if isinstance(detail, list) else []
    queue = body.get("error_type") or answer.headers.get("x-fal-error-type")
    return [each for each in (*types, queue) if isinstance(each, str) and each]


def _is_of_job(result: Answer, status: Answer) -> bool:
    """Whether the answer in a result's place is what became of the job, and not of the question."""
    told = _error_types(status)
    has_failed = bool(told) or bool((status.body or {}).get("error"))
    is_named_4xx = result.status < 500 and result.status not in _OF_THE_QUESTION
    if _error_types(result) and (has_failed or is_named_4xx or _is_of_model(result)):
        return True
    if told and _is_of_queue(told[0]) and result.status >= 500:
        return True
    return has_failed and result.body is not None and result.status not in _OF_THE_QUESTION


def _is_of_model(result: Answer) -> bool:
    """Whether the model itself says what went wrong: its errors are lists."""
    return isinstance((result.body or {}).get("detail"), list)


def _is_of_queue(word: str) -> bool:
    """Whether a job that ended with this error has cost nothing: it stands for a 5xx."""
    return word.startswith(_PASSING) or word.endswith("_timeout")


def _kind(word: str, result: Answer) -> ErrorKind:
    if word in _STOPPED:  # from outside: `x-fal-retryable` does not speak of another try
        return ErrorKind.TEMPORARY
    kind = kind_of_status(result.status)
    if word.startswith(_PASSING):
        kind = ErrorKind.TEMPORARY
    elif word.endswith("_timeout"):
        kind = ErrorKind.TIMEOUT
    elif kind is ErrorKind.AUTH_ERROR:  # of what the job itself asked for: the key has just been good
        kind = ErrorKind.PERMANENT
    may_succeed = result.headers.get("x-fal-retryable", "").lower()
    if may_succeed == "true" and kind in (ErrorKind.PERMANENT, ErrorKind.UNKNOWN):
        return ErrorKind.TEMPORARY
    if may_succeed == "false" and kind in (ErrorKind.TEMPORARY, ErrorKind.UNKNOWN):
        return ErrorKind.PERMANENT
    return kind


def _about_the_account(answer: Answer) -> tuple[ErrorKind | None, Scope | None, str | None]:
    is_out_of_credit = answer.status == 402 or (answer.status == 403 and "balance" in answer.said.lower())
    return (ErrorKind.PERMANENT, Scope.ACCOUNT, "NO_CREDIT") if is_out_of_credit else (None, None, None)
