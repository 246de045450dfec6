"""Models on Replicate, over its predictions API; every call is a job.

The POST asks for nothing but the job: no `Prefer: wait`, so that its id is known, and kept, as early as can be, and no
`Cancel-After`, because a job that is stopped while it runs is charged all the same. The picture is always fetched by a
poll, after the id is safe, even when the POST's own answer has it already.

What the job becomes:

    starting, processing                           StillRunning
    succeeded with an address, or several          ImageResult: the first, at the price of all
    succeeded without any                          Refusal EMPTY_OUTPUT, billed yes, but
                                                   unbilled when it is sold by the picture and none was counted
    succeeded, and its data removed since          INVALID_OUTPUT, OUTPUT_GONE, billed yes
    failed over content (nsfw, flagged, E005, …)   Refusal FLAGGED *
    failed in time ("timed out")                   TIMEOUT *
    failed otherwise                               UNKNOWN *
    canceled                                       TEMPORARY, CANCELED, billed unknown
    aborted (it never began)                       TIMEOUT, ABORTED, unbilled by policy
    any other status                               PollFailed UNKNOWN

    * billed unknown, but unbilled by policy when the model data says `charges_failures = false`: what is charged by
      the picture is not charged without one

and where the answer is about the request or the account:

    402                                            PERMANENT of the account, NO_CREDIT, unbilled
    429                                            RATE_LIMIT; waits as `Retry-After` or "resets in ~30s" says
    anything else                                  as in `failures`, and in `remote` for a poll

Beyond the names in `remote_input`, a model's `fields` may give `aspect_ratio` (the field, if it is not called so),
`version` (of a community model, which is bought by its version) and `charges_failures`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, Cost, CostBasis
from safelight.providers import retry_after
from safelight.providers.configuration import checked_url, model_table, required_key
from safelight.providers.failures import buyable, refused_here
from safelight.providers.key_check import KeyNotChecked, key_verdict
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
    count_of,
    figures,
    model_of,
    unpriced,
)
from safelight.providers.remote_input import model_input, remote_models, requested_pixels

DEFAULT_BASE_URL = "https://api.replicate.com"

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_RUNNING = ("starting", "processing")
_WITHOUT_PICTURE = ("failed", "canceled", "aborted")
_CONTENT = re.compile(r"nsfw|sensitive|flagged|E005", re.IGNORECASE)
_TIME = re.compile(r"timed?[ -]?out", re.IGNORECASE)
_RESET = re.compile(r"resets in ~?\s?(\d{1,9}(?:\.\d{1,9})?)\s?s", re.IGNORECASE | re.ASCII)

_MOST_SECONDS = 1e6
_MOST_PICTURES = 1000


class ReplicateProvider(RemoteProvider):
    """One API token at Replicate, or at a server that speaks the same protocol."""

    default_base_url = DEFAULT_BASE_URL
    key_variable = "REPLICATE_API_TOKEN"

    def __init__(self, account: RemoteAccount) -> None:
        self._account = account
        self._models = account.table

    @classmethod
    def from_config(cls, name: str, config: ProviderConfig) -> Self:
        """With the model data that ships with the package. Raises InvalidConfiguration for a missing or
        impossible key, a base URL that is not http or https, and models that are described wrongly."""
        api_key = required_key(name, config, kind="replicate", variable="REPLICATE_API_TOKEN")
        return cls(
            RemoteAccount(
                base_url=checked_url(name, config) or DEFAULT_BASE_URL,
                authorization=f"Bearer {api_key}",
                api_key=api_key,
                table=remote_models(name, model_table(name, config, "replicate")),
                fetch=config.fetch,
            )
        )

    def models(self) -> tuple[str, ...]:
        return tuple(self._models.models)

    def capabilities(self, model: str) -> Capabilities:
        return self._models.find(model).capabilities

    def estimate(self, request: ImageRequest) -> Cost:
        return table_estimate(request, model=self._models.find(request.model), table=self._models)

    async def submit(self, request: ImageRequest) -> Refusal | RemoteHandle:
        model = buyable(request, self._models)
        asked: dict[str, Any] = {"input": await model_input(request, model) | _shape(request, model)}
        path = f"/v1/models/{quote(model.id)}/predictions"
        if version := model.fields.get("version"):
            path, asked = "/v1/predictions", {"version": version, **asked}
        answer = await self._account.buy(path, asked, request=request)
        prediction = answer.body or {}
        remote_id = prediction.get("id")
        if not answer.is_success or not isinstance(remote_id, str) or not _ID.fullmatch(remote_id):
            raise self._not_accepted(answer, request)
        if prediction.get("status") in _WITHOUT_PICTURE:
            return self._without_picture(prediction, remote_id, request, model)
        urls = prediction.get("urls")
        named: Mapping[str, Any] = urls if isinstance(urls, dict) else {}
        return RemoteHandle(
            remote_id=remote_id,
            urls={name: self._account.own(named.get(name)) or self._url(remote_id, name) for name in ("get", "cancel")},
        )

    async def poll(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal | StillRunning:
        answer = await self._account.ask("GET", self._own_url(handle, "get"), prompt=request.prompt)
        prediction = answer.body or {}
        status = prediction.get("status")
        if answer.status != 200 or not isinstance(status, str):
            raise self._not_told(answer, request)
        if status in _RUNNING:
            return StillRunning(after_seconds=retry_after.from_headers(answer.headers))
        model = model_of(self._models, request.model)
        if status in _WITHOUT_PICTURE:
            return self._without_picture(prediction, handle.remote_id, request, model)
        if status != "succeeded":
            message = self._redacted(f"the job's status is `{status}`", request)
            raise PollFailed(message, kind=ErrorKind.UNKNOWN, code="UNKNOWN_STATUS", http_status=200)
        return await self._picture(prediction, handle.remote_id, request, model)

    async def cancel(self, handle: RemoteHandle) -> RemoteCancellation:
        answer = await self._account.ask("POST", self._own_url(handle, "cancel"), prompt="")
        status = (answer.body or {}).get("status")
        if answer.is_success:
            has_ended = status in ("succeeded", "failed")
            return RemoteCancellation.TOO_LATE if has_ended else RemoteCancellation.REQUESTED
        if answer.status in (400, 404, 409, 410, 422):
            return RemoteCancellation.TOO_LATE
        raise self._not_told(answer)

    async def check_key(self) -> str | None:
        """What Replicate says against the token; None when it takes it. Costs nothing. Raises KeyNotChecked."""
        try:
            answer = await self._account.ask("GET", self._account.url("/v1/account"), prompt="")
        except PollFailed as failed:
            raise KeyNotChecked(failed.message) from None
        return key_verdict(answer.status, is_json=answer.body is not None)

    async def aclose(self) -> None:
        await self._account.aclose()

    def _own_url(self, handle: RemoteHandle, name: str) -> str:
        """The handle's, unless it is not of this account's address (any more): the key goes nowhere else."""
        return self._account.own(handle.urls.get(name)) or self._url(handle.remote_id, name)

    def _url(self, remote_id: str, name: str) -> str:
        return self._account.url(f"/v1/predictions/{quote(remote_id, safe='')}{'/cancel' if name == 'cancel' else ''}")

    async def _picture(
        self, prediction: Mapping[str, Any], remote_id: str, request: ImageRequest, model: Model
    ) -> ImageResult | Refusal:
        outputs = _outputs(prediction.get("output"))
        usage = figures(prediction.get("metrics"))
        cost = self._cost(usage, len(set(map(str, outputs))), request, model)
        paid = PaidJob(remote_id=remote_id, cost=cost, usage=usage)
        if not outputs and prediction.get("data_removed") is True:
            raise paid.unusable("OUTPUT_GONE", "the vendor has removed the job's output, as it does after an hour")
        if not outputs:
            is_free = usage.get("image_count") == 0 and cost.basis is CostBasis.TABLE
            return Refusal(
                code="EMPTY_OUTPUT",
                message="the job succeeded and its safety filter left nothing of it",
                billed=Billed.NO if is_free else Billed.YES,
                cost=FREE if is_free else cost,
                usage=usage,
                request_id=remote_id,
            )
        data, mime = await self._account.picture(outputs[0], paid=paid)
        version = prediction.get("version")
        return ImageResult(
            data=data,
            claimed_mime=mime or "application/octet-stream",
            cost=cost,
            usage=usage,
            request_id=remote_id,
            model_version=version if isinstance(version, str) else None,
        )

    def _cost(self, usage: Mapping[str, Any], outputs: int, request: ImageRequest, model: Model) -> Cost:
        """Of all pictures that were made, where the price is that of one."""
        seconds = usage.get("predict_time")
        asked = requested_pixels(request, model)
        each = table_cost(
            model,
            self._models,
            width_px=asked.width,
            height_px=asked.height,
            seconds=seconds if seconds is not None and seconds < _MOST_SECONDS else None,
        )
        if each.basis is not CostBasis.TABLE or each.microusd is None:
            return each
        made = count_of(usage.get("image_count"), most=_MOST_PICTURES) or outputs or 1
        return Cost(each.microusd * made, each.basis, each.price_ref)

    def _without_picture(
        self, prediction: Mapping[str, Any], remote_id: str, request: ImageRequest, model: Model
    ) -> Refusal:
        status, error = prediction.get("status"), prediction.get("error")
        said = error if isinstance(error, str) and error else f"the job ended as `{status}`"
        message = self._redacted(said, request)
        # Not of the message: `nsfw` is what many a negative prompt says, and what a filter says.
        words = self._account.redacted(said, prompt=request.prompt)
        usage = figures(prediction.get("metrics"))
        is_free = status == "aborted" or (status == "failed" and model.fields.get("charges_failures") is False)
        billed, cost = unpriced(is_free=is_free)
        if status == "failed" and _CONTENT.search(words):
            return Refusal(code="FLAGGED", message=message, billed=billed, cost=cost, usage=usage, request_id=remote_id)
        kind, code = _kind_and_code(str(status), words)
        raise ProviderError(
            message,
            kind=kind,
            billed=billed,
            unbilled_by_policy=is_free,
            code=code,
            request_id=remote_id,
            cost=cost,
            usage=usage,
        )

    def _not_accepted(self, answer: Answer, request: ImageRequest) -> ProviderError:
        kind, scope, code = _about_the_account(answer)
        wait = _wait(answer)
        return self._account.not_accepted(
            answer, request=request, kind=kind, scope=scope, code=code, retry_after_seconds=wait
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
            retry_after_seconds=_wait(answer),
        )

    def _redacted(self, message: str, request: ImageRequest) -> str:
        return self._account.redacted(message, prompt=request.prompt, negative_prompt=request.negative_prompt)


def _shape(request: ImageRequest, model: Model) -> dict[str, Any]:
    """A size goes as its two sides, and so does a ratio that the model data has a size for."""
    pixels = requested_pixels(request, model)
    if request.aspect_ratio is not None and pixels.width is None:
        return {model.fields.get("aspect_ratio", "aspect_ratio"): request.aspect_ratio}
    if request.size is None and request.aspect_ratio is None:
        return {}
    if "width" not in model.fields or "height" not in model.fields:
        raise refused_here("UNSUPPORTED_OPTION", f"`{model.id}` has no fields for a size")
    return {model.fields["width"]: pixels.width, model.fields["height"]: pixels.height}


def _outputs(output: object) -> list[object]:
    """One address or several; nothing for null, for empty ones, and for a list of nothing."""
    outputs = output if isinstance(output, list) else [output]
    return [each for each in outputs if each]


def _kind_and_code(status: str, said: str) -> tuple[ErrorKind, str]:
    match status:
        case "canceled":
            return ErrorKind.TEMPORARY, "CANCELED"
        case "aborted":
            return ErrorKind.TIMEOUT, "ABORTED"
        case _ if _TIME.search(said):
            return ErrorKind.TIMEOUT, "TIMED_OUT"
        case _:
            return ErrorKind.UNKNOWN, "FAILED"


def _about_the_account(answer: Answer) -> tuple[ErrorKind | None, Scope | None, str | None]:
    if answer.status == 402:
        return ErrorKind.PERMANENT, Scope.ACCOUNT, "NO_CREDIT"
    return None, None, None


def _wait(answer: Answer) -> float | None:
    """Of a rate limit that says it in words; `Retry-After`, which is exact, goes first."""
    words = _RESET.search(answer.said)
    if retry_after.from_headers(answer.headers) is not None or words is None:
        return None
    return retry_after.from_duration(f"{words[1]}s")
