"""What the vendors' failures have in common: one meaning per HTTP status, per broken connection, per option.

An adapter decides what is its vendor's own (an error code, a word in the answer) and leaves the rest to these. What
they know of the call itself comes from `net.billable`: a request that never left is proven unbilled, whatever the
vendor's library says about it.

    no connection                                  TEMPORARY, unbilled
    the client refused to build the request        PERMANENT, unbilled
    the client broke before it sent anything       TEMPORARY, unbilled: no file descriptor was left, say
    cut / silent connection                        TEMPORARY / TIMEOUT, billed unknown
    an answer that cannot be read                  TEMPORARY, billed unknown
    an answer longer than is read                  INVALID_OUTPUT, billed unknown
    429                                            RATE_LIMIT, unbilled
    401, 403                                       AUTH_ERROR of the account, unbilled
    402                                            PERMANENT, of the account, unbilled
    408 / other 4xx                                TIMEOUT / PERMANENT, unbilled
    504 / other 5xx                                TIMEOUT / TEMPORARY, billed unknown, but
                                                   unbilled by policy when the model data lists the status
    any other status                               UNKNOWN, billed unknown
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping

import httpx2

from safelight.domain.errors import Billed, ErrorKind, Scope
from safelight.domain.money import FREE, UNKNOWN_COST
from safelight.net.billable import AlreadySent, AnswerTooLarge, CallNotSent, current_call
from safelight.providers import retry_after
from safelight.providers.models import Model, ModelTable
from safelight.providers.provider import ImageRequest, InputRole, ProviderError, UnknownModel
from safelight.providers.redaction import redact

CALL_FAILURES = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    OSError,  # of TLS, and of what else is opened on the way, when no file descriptor is left
    ExceptionGroup,  # of an address that is tried in several ways at once
    AlreadySent,
    AnswerTooLarge,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    ImportError,
    MemoryError,
)
"""Everything a call was seen to raise that is no HTTP status: the HTTP client's errors, what JSON and Pydantic say
about a body of another shape, and what a process raises that has run out of something. CallNotSent is not among them,
and so passes through an `except CALL_FAILURES`."""

HTTP_PAYMENT_REQUIRED = 402

_BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


# Before the call


def buyable(request: ImageRequest, table: ModelTable) -> Model:
    """The model, when it can do all that is asked: a vendor would drop an option it lacks, and charge.

    Raises ProviderError (PERMANENT, billed no) with the code UNKNOWN_MODEL, MODEL_RETIRED or UNSUPPORTED_OPTION.
    """
    try:
        model = table.find(request.model)
    except UnknownModel as error:
        raise refused_here("UNKNOWN_MODEL", str(error)) from error
    if model.capabilities.retired_on is not None:
        problem = f"`{model.id}` was switched off by the vendor on {model.capabilities.retired_on}"
        raise refused_here("MODEL_RETIRED", problem)
    problem = _beyond(request, model)
    if problem is not None:
        raise refused_here("UNSUPPORTED_OPTION", f"`{model.id}` {problem}")
    return model


def refused_here(code: str, problem: str) -> ProviderError:
    """For a request that is not sent because it cannot succeed."""
    return ProviderError(problem, kind=ErrorKind.PERMANENT, billed=Billed.NO, code=code, cost=FREE)


def _beyond(request: ImageRequest, model: Model) -> str | None:
    """The first thing that is asked and that the model cannot do."""
    can = model.capabilities
    references = sum(given.role is InputRole.REFERENCE for given in request.inputs)
    masks = len(request.inputs) - references
    problems = (
        (len(request.prompt) > can.prompt_max_chars, f"takes a prompt of at most {can.prompt_max_chars} characters"),
        (request.size is not None and request.aspect_ratio is not None, "takes an aspect ratio or a size, not both"),
        (_has_other(request.aspect_ratio, can.aspect_ratios), f"has no aspect ratio {request.aspect_ratio}"),
        (request.size is not None and not (can.sizes or can.size_rule), "takes no size"),
        (request.size is not None and not can.takes_size(request.size), f"has no size {request.size}"),
        (_has_other(request.quality, can.qualities), f"has no quality {request.quality}"),
        (request.seed is not None and not can.seed, "takes no seed"),
        (request.negative_prompt is not None and not can.negative_prompt, "takes no negative prompt"),
        (references > can.max_references, f"takes at most {can.max_references} reference pictures"),
        (masks > 0 and not can.mask, "takes no mask"),
        (masks > 1, "takes one mask"),
        (masks > 0 and references == 0, "takes a mask only with the picture it belongs to"),
    )
    return next((problem for is_asked, problem in problems if is_asked), None)


def _has_other(value: str | None, allowed: frozenset[str] | None) -> bool:
    return value is not None and value not in (allowed or ())


# Without a status


def failure_without_status(
    error: Exception, *, api_key: str, prompt: str, negative_prompt: str | None = None
) -> ProviderError | CallNotSent:
    """For one of `CALL_FAILURES`: nothing, or nothing readable, came back.

    CallNotSent when the attempt's deadline kept the request here. A library's own wrapper is to be taken off first,
    so that `error` is what the HTTP client raised.
    """
    call = current_call()
    if call is not None and call.was_refused:
        return CallNotSent("the attempt's deadline passed before its first byte was sent")
    never_left = not call.has_left if call is not None else isinstance(error, _BEFORE_SENDING)
    kind, code = _meaning(error, never_left=never_left)
    # What JSON and Pydantic say quotes the answer; what the HTTP client says is about the connection.
    said = f": {error}" if isinstance(error, httpx2.HTTPError | AnswerTooLarge) else ""
    return ProviderError(
        without_secrets(
            f"{type(error).__name__}{said}", api_key=api_key, prompt=prompt, negative_prompt=negative_prompt
        ),
        kind=kind,
        billed=Billed.NO if never_left else Billed.UNKNOWN,
        code=code,
        cost=FREE if never_left else UNKNOWN_COST,
    )


def _meaning(error: Exception, *, never_left: bool) -> tuple[ErrorKind, str]:
    match error:
        case httpx2.HTTPError() | ssl.SSLError() if never_left:
            return ErrorKind.TEMPORARY, "CONNECT_FAILED"
        case httpx2.InvalidURL() | ValueError() | TypeError() if never_left:
            return ErrorKind.PERMANENT, "INVALID_REQUEST"
        case _ if never_left:  # nothing that the request could be blamed for
            return ErrorKind.TEMPORARY, "CLIENT_FAILED"
        case httpx2.TimeoutException() | TimeoutError():
            return ErrorKind.TIMEOUT, "NO_ANSWER"
        case AnswerTooLarge():
            return ErrorKind.INVALID_OUTPUT, "ANSWER_TOO_LARGE"
        case OSError():  # first, for a certificate's failure is a ValueError too
            return ErrorKind.TEMPORARY, "CONNECTION_LOST"
        case httpx2.DecodingError() | ValueError() | TypeError() | AttributeError() | LookupError():
            return ErrorKind.TEMPORARY, "UNREADABLE_ANSWER"
        case httpx2.HTTPError():
            return ErrorKind.TEMPORARY, "CONNECTION_LOST"
        case _:
            return ErrorKind.UNKNOWN, "CLIENT_FAILED"


# With a status


def failure_of_status(
    status: int,
    message: str,
    *,
    table: ModelTable,
    api_key: str,
    prompt: str,
    negative_prompt: str | None = None,
    headers: Mapping[str, str] | None = None,
    code: str | None = None,
    kind: ErrorKind | None = None,
    scope: Scope | None = None,
    quota_zone: str | None = None,
    retry_after_seconds: float | None = None,
    request_id: str | None = None,
) -> ProviderError:
    """For an HTTP answer that is no success; what the adapter leaves out follows from the status.

    `message` is the vendor's, raw; key and prompt are taken out of it here. `code` is the vendor's word for it (see
    `vendor_code`). The wait is `retry_after_seconds`, which the body asks for; else what the headers say, else what
    the message of a rate limit says.
    """
    is_of_policy = status in table.unbilled_statuses
    is_unbilled = 400 <= status < 500 or is_of_policy
    kind = kind or kind_of_status(status)
    is_of_account = kind is ErrorKind.AUTH_ERROR or status == HTTP_PAYMENT_REQUIRED
    wait = retry_after_seconds or retry_after.from_headers(headers or {})
    if wait is None and kind is ErrorKind.RATE_LIMIT:
        wait = retry_after.from_text(message)
    return ProviderError(
        without_secrets(message or f"HTTP {status}", api_key=api_key, prompt=prompt, negative_prompt=negative_prompt),
        kind=kind,
        scope=scope or (Scope.ACCOUNT if is_of_account else Scope.REQUEST),
        billed=Billed.NO if is_unbilled else Billed.UNKNOWN,
        unbilled_by_policy=is_of_policy,
        code=code or f"HTTP_{status}",
        http_status=status,
        quota_zone=quota_zone,
        retry_after_seconds=wait,
        request_id=request_id,
        cost=FREE if is_unbilled else UNKNOWN_COST,
    )


def kind_of_status(status: int) -> ErrorKind:
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


def without_secrets(message: str, *, api_key: str, prompt: str, negative_prompt: str | None = None) -> str:
    """The vendor's words without the key and without an echo of what the caller wrote, cut to 500 characters."""
    safe = redact(message, api_key=api_key, prompt=prompt)
    return redact(safe, api_key=api_key, prompt=negative_prompt) if negative_prompt else safe


def vendor_code(word: object) -> str | None:
    """The vendor's own code in capitals, when it is one: a proxy puts "Bad Gateway" or a page in its place."""
    is_code = isinstance(word, str) and re.fullmatch(r"[A-Z][A-Z0-9_]{1,63}|[a-z][a-z0-9_]{1,63}", word)
    return str(word).upper() if is_code else None
