"""What the adapters of remote jobs share: a key that stays at its own address, and pictures by theirs.

A job is bought with one POST and asked after with plain requests. Both carry the account's key, and so both go to the
origin of its base URL and nowhere else: an address that the vendor names in an answer is used when it is of that
origin, and is built from the job's id otherwise. The picture is fetched without the key, through the egress guard.

What an answer to a question becomes, where an adapter does not know better:

    no connection, cut / silent connection          PollFailed TEMPORARY / TIMEOUT
    401, 403                                        PollFailed AUTH_ERROR, of the account
    404, 410                                        ProviderError UNKNOWN, REMOTE_JOB_GONE, billed unknown
    408, 504 / 429 / other 4xx / other 5xx          PollFailed TIMEOUT / RATE_LIMIT / PERMANENT / TEMPORARY
    a success that cannot be read                   PollFailed TEMPORARY

and what becomes of the picture's address once the job has one:

    the guard lets nobody fetch it                  ProviderError INVALID_OUTPUT, OUTPUT_URL_REFUSED, billed yes
    404, 410: the vendor keeps it no longer         ProviderError INVALID_OUTPUT, OUTPUT_GONE, billed yes
    too large, or not to be read for good           ProviderError INVALID_OUTPUT, OUTPUT_UNREADABLE, billed yes
    not to be read just now                         PollFailed TEMPORARY, OUTPUT_UNREACHABLE
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import httpx2

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, UNKNOWN_COST, Cost
from safelight.net.billable import billable_client
from safelight.net.fetch import Fetch, FetchFailed, FetchRefused
from safelight.net.query import query_client
from safelight.providers import retry_after
from safelight.providers.failures import (
    CALL_FAILURES,
    failure_of_status,
    failure_without_status,
    kind_of_status,
    without_secrets,
)
from safelight.providers.models import Model, ModelTable
from safelight.providers.provider import (
    Capabilities,
    ImageRequest,
    PollFailed,
    ProviderError,
    UnknownModel,
)

PICTURE_MAX_BYTES = 64 << 20
"""Of one picture. Chosen: as much as is read of a whole answer that carries its picture itself."""

PICTURE_TIMEOUT_SECONDS = 60.0
"""For one download, in all. Chosen; a picture that takes longer is asked for again with the next poll."""

QUESTION_TIMEOUT_SECONDS = 30.0
"""For one question and its whole answer. Chosen: what the client allows a single read of it."""

_GONE = (404, 410)
_MAX_SIDE_PX = 65_535
_LONGEST_URL = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A vendor's answer. `body` is None when it is not a JSON object."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any] | None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def said(self) -> str:
        """The vendor's words about a failure, raw: `detail`, as text or as a list of `msg`, `title` or `error`."""
        body = self.body or {}
        detail = body.get("detail")
        if isinstance(detail, list):
            return "; ".join(str(each["msg"]) for each in detail if isinstance(each, dict) and "msg" in each)
        words = (detail, body.get("title"), body.get("error"))
        return next((word for word in words if isinstance(word, str) and word), "")


class RemoteAccount:
    """One key at one address: the only way in which it leaves this process."""

    def __init__(self, *, base_url: str, authorization: str, api_key: str, table: ModelTable, fetch: Fetch) -> None:
        self.table = table
        self._base_url = base_url.rstrip("/")
        self._origin = _origin(httpx2.URL(base_url))
        self._api_key = api_key
        self._headers = {"authorization": authorization, "accept": "application/json"}
        self._fetch = fetch
        self._billable = billable_client()
        self._query = query_client()

    def url(self, path: str) -> str:
        """Under the base URL. `path` begins with a slash."""
        return self._base_url + path

    def own(self, url: object) -> str | None:
        """The address, if the key may be sent to it: of the base URL's scheme, host and port, and without a key or
        password of its own."""
        if not isinstance(url, str) or len(url) > _LONGEST_URL or self._api_key in url:
            return None
        try:
            parsed = httpx2.URL(url)
            is_own = _origin(parsed) == self._origin and not parsed.userinfo
        except (httpx2.InvalidURL, ValueError):  # a ValueError is a UnicodeError: of the text, or of a host's name
            return None
        return url if is_own else None

    async def buy(
        self, path: str, body: Mapping[str, Any], *, request: ImageRequest, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to the one billable POST, whatever its status. Raises ProviderError and CallNotSent when none
        came."""
        try:
            response = await self._billable.post(
                self.url(path),
                json=body,
                headers={**self._headers, **(headers or {})},
                timeout=request.timeout_seconds,
            )
        except CALL_FAILURES as error:
            raise failure_without_status(
                error, api_key=self._api_key, prompt=request.prompt, negative_prompt=request.negative_prompt
            ) from None
        return _answer(response)

    async def ask(self, method: str, url: str, *, prompt: str) -> Answer:
        """The answer to a request that costs nothing, whatever its status. Raises PollFailed when none came.

        `url` is one that `own` has passed, or `url` has built.
        """
        try:
            async with asyncio.timeout(QUESTION_TIMEOUT_SECONDS):
                response = await self._query.request(method, url, headers=self._headers)
        except TimeoutError:
            message = f"no whole answer within {QUESTION_TIMEOUT_SECONDS:g} seconds"
            raise PollFailed(message, kind=ErrorKind.TIMEOUT, code="NO_ANSWER") from None
        except CALL_FAILURES as error:
            failure = failure_without_status(error, api_key=self._api_key, prompt=prompt)
            if not isinstance(failure, ProviderError):
                raise PollFailed(str(failure), kind=ErrorKind.TEMPORARY, code="NOT_SENT") from None
            raise PollFailed(failure.message, kind=failure.kind, code=failure.code) from None
        return _answer(response)

    def not_accepted(
        self,
        answer: Answer,
        *,
        request: ImageRequest,
        kind: ErrorKind | None = None,
        scope: Scope | None = None,
        code: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> ProviderError:
        """For an answer to the POST that names no job. A success without a readable job may have begun one."""
        if answer.is_success:
            return ProviderError(
                "the vendor accepted the request, and its answer names no job that could be asked after",
                kind=ErrorKind.TEMPORARY,
                billed=Billed.UNKNOWN,
                code="UNREADABLE_ANSWER",
                http_status=answer.status,
            )
        return failure_of_status(
            answer.status,
            answer.said,
            table=self.table,
            api_key=self._api_key,
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            headers=answer.headers,
            code=code,
            kind=kind,
            scope=scope,
            retry_after_seconds=retry_after_seconds,
        )

    def not_told(
        self,
        answer: Answer,
        *,
        prompt: str,
        negative_prompt: str | None = None,
        kind: ErrorKind | None = None,
        scope: Scope | None = None,
        code: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> ProviderError | PollFailed:
        """For an answer to a question that does not say how the job stands."""
        said = answer.said or f"HTTP {answer.status}"
        message = self.redacted(said, prompt=prompt, negative_prompt=negative_prompt)
        if answer.status in _GONE:
            return ProviderError(
                message,
                kind=ErrorKind.UNKNOWN,
                billed=Billed.UNKNOWN,
                code="REMOTE_JOB_GONE",
                http_status=answer.status,
            )
        if answer.is_success:
            kind, code = kind or ErrorKind.TEMPORARY, code or "UNREADABLE_ANSWER"
        kind = kind or kind_of_status(answer.status)
        return PollFailed(
            message,
            kind=kind,
            scope=scope or (Scope.ACCOUNT if kind is ErrorKind.AUTH_ERROR else Scope.REQUEST),
            code=code or f"HTTP_{answer.status}",
            http_status=answer.status,
            retry_after_seconds=retry_after_seconds or retry_after.from_headers(answer.headers),
        )

    async def picture(self, url: object, *, paid: PaidJob) -> tuple[bytes, str | None]:
        """What the job made, and what its server called it. Raises ProviderError and PollFailed as said above."""
        if not isinstance(url, str):
            raise paid.unusable("OUTPUT_UNREADABLE", "the vendor names no address for its picture")
        if url[:5].lower() == "data:":
            return _inline(url, paid)
        try:
            fetched = await self._fetch(url, max_bytes=PICTURE_MAX_BYTES, timeout_seconds=PICTURE_TIMEOUT_SECONDS)
        except FetchRefused as error:
            said = self.redacted(f"the picture's address may not be fetched: {error}", prompt="")
            raise paid.unusable("OUTPUT_URL_REFUSED", said) from None
        except FetchFailed as error:
            said = self.redacted(str(error), prompt="")
            if error.http_status in _GONE:
                raise paid.unusable("OUTPUT_GONE", f"the vendor keeps the picture no longer: {said}") from None
            if error.is_final:
                raise paid.unusable("OUTPUT_UNREADABLE", f"the picture cannot be read: {said}") from None
            raise PollFailed(
                f"the job has ended, and its picture could not be read just now: {said}",
                kind=ErrorKind.TEMPORARY,
                code="OUTPUT_UNREACHABLE",
                http_status=error.http_status,
            ) from None
        return fetched.data, fetched.mime

    def redacted(self, message: str, *, prompt: str, negative_prompt: str | None = None) -> str:
        return without_secrets(message, api_key=self._api_key, prompt=prompt, negative_prompt=negative_prompt)

    async def aclose(self) -> None:
        await self._billable.aclose()
        await self._query.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidJob:
    """A job that ended well and was charged for."""

    remote_id: str
    cost: Cost
    usage: Mapping[str, Any]

    def unusable(self, code: str, problem: str, *, is_free: bool = False) -> ProviderError:
        """For one whose picture can never be had. `is_free`: there was none, and by the vendor's own count none was
        charged."""
        return ProviderError(
            problem,
            kind=ErrorKind.INVALID_OUTPUT,
            billed=Billed.NO if is_free else Billed.YES,
            unbilled_by_policy=is_free,
            code=code,
            request_id=self.remote_id,
            cost=FREE if is_free else self.cost,
            usage=self.usage,
        )


def unpriced(*, is_free: bool) -> tuple[Billed, Cost]:
    """What a job without a picture cost: nothing, by the vendor's policy, or nobody knows."""
    return (Billed.NO, FREE) if is_free else (Billed.UNKNOWN, UNKNOWN_COST)


def model_of(table: ModelTable, model: str) -> Model:
    """The model that a job was bought of. One that is no longer configured has no price; its picture still counts."""
    try:
        return table.find(model)
    except UnknownModel:
        nothing = Capabilities(aspect_ratios=None, sizes=None, seed=False, negative_prompt=False, timeout_seconds=1.0)
        return Model(id=model, capabilities=nothing, price=None)


# Answers


def count_of(value: object, *, most: int) -> int | None:
    """A whole number from 1 to `most`, or None."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 1 <= value <= most else None


def side_px(value: object) -> int | None:
    return count_of(value, most=_MAX_SIDE_PX)


def figures(metrics: object) -> dict[str, Any]:
    """The numbers among a vendor's metrics, for our records."""
    return {
        name: value
        for name, value in (metrics if isinstance(metrics, dict) else {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _answer(response: httpx2.Response) -> Answer:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    return Answer(status=response.status_code, headers=response.headers, body=body if isinstance(body, dict) else None)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _inline(url: str, paid: PaidJob) -> tuple[bytes, str | None]:
    """The picture in a `data:` address."""
    head, comma, content = url[5:].partition(",")
    mime, _, parameters = head.partition(";")
    # base64 takes four characters for three bytes; an escaped byte takes up to three.
    if len(content) > PICTURE_MAX_BYTES * 3:
        raise paid.unusable("OUTPUT_UNREADABLE", f"the picture is larger than {PICTURE_MAX_BYTES} bytes")
    try:
        data = unquote_to_bytes(content)
        if parameters.lower().split(";")[-1] == "base64":
            data = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not comma or not data or len(data) > PICTURE_MAX_BYTES:
        raise paid.unusable("OUTPUT_UNREADABLE", "the picture's address holds no picture that can be read")
    return data, mime.lower() or None
