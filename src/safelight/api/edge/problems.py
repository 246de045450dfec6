"""Every kind of error answer, in one table: RFC 9457 problems under `/problems/{slug}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response

from safelight.api.edge.request_id import request_id_of
from safelight.domain.errors import Fault

MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 1000
"""Faults that one answer lists; its detail says how many there are. Chosen."""

_MAX_INSTANCE_CHARS = 500


@dataclass(frozen=True, slots=True)
class ProblemType:
    """`text` tells a person what happened and what to do. `is_retryable`: the same request may succeed
    later."""

    status: int
    title: str
    text: str
    is_retryable: bool = False


PROBLEMS: Mapping[str, ProblemType] = {
    "malformed-json": ProblemType(
        400,
        "Not JSON",
        "The body is not JSON as RFC 8259 defines it: UTF-8 without a byte order mark, no NaN or Infinity, "
        "numbers of a sane length, objects and arrays at most 32 deep, 50 000 members in all its objects at most.",
    ),
    "malformed-upload": ProblemType(
        400,
        "Malformed upload",
        "The body is no whole multipart/form-data with exactly one part `file` that is not empty. What the file is "
        "called does not matter.",
    ),
    "duplicate-key": ProblemType(
        400,
        "Duplicate key",
        "An object of the body has the same key twice. Which one was meant is not for us to guess.",
    ),
    "invalid-idempotency-key": ProblemType(
        400,
        "Invalid Idempotency-Key",
        "The header is sent once and holds 1 to 255 visible ASCII characters, without spaces.",
    ),
    "idempotency-key-required": ProblemType(
        400,
        "Idempotency-Key required",
        "This service takes a submit only with an `Idempotency-Key` (`SAFELIGHT_REQUIRE_IDEMPOTENCY_KEY`), so that "
        "none is done twice. Send one of your own making with each job.",
    ),
    "invalid-cursor": ProblemType(
        400,
        "Invalid cursor",
        "A cursor is valid with the filters it was given for, and unchanged. Start again without one.",
    ),
    "bad-host": ProblemType(
        400,
        "Bad Host",
        "The service does not answer to the name in `Host`, or there is not exactly one. It knows loopback's names, "
        "its own address and that of its public URL; `SAFELIGHT_ALLOWED_HOSTS` adds others.",
    ),
    "unauthenticated": ProblemType(
        401,
        "Unauthenticated",
        "The request has no API key, or one that is malformed, unknown, revoked or expired; which of these, nobody is "
        "told. Send it as `Authorization: Bearer sl_…`, and nowhere else: a key in an address ends up in logs.",
    ),
    "budget-exceeded": ProblemType(
        402,
        "Budget exceeded",
        "It costs more than the account has, than its budget of the day leaves, or than the job's `max_cost_usd` "
        "allows. `remaining_credits` or `remaining_micros` (millionths of a US dollar) says what is left. Nothing was "
        "created or changed, and an Idempotency-Key is not used up.",
    ),
    "insufficient-scope": ProblemType(
        403, "Insufficient scope", "The key is good, and this is beyond its scopes. Use another key, or have one made."
    ),
    "invalid-signature": ProblemType(
        403,
        "Invalid signature",
        "A link that stands in for a key is good for one address, as it was given: not changed, not added to, and, if "
        "it is signed, until it expires. Look at the job again for links that are fresh.",
    ),
    "foreign-page": ProblemType(
        403,
        "Page of another site",
        "A browser says that a page of another site has sent this. A service that runs open takes nothing from there "
        "that changes anything: else every page on the web could order pictures on this machine. Send it from a "
        "program or a server, or make a key and send that.",
    ),
    "not-found": ProblemType(404, "Not found", "There is nothing under this address, or it is not yours."),
    "method-not-allowed": ProblemType(
        405,
        "Method not allowed",
        "The address exists, but not for this method. `Allow` names those it takes.",
    ),
    "request-timeout": ProblemType(
        408, "Request timeout", "The body did not arrive in time. Nothing was created.", is_retryable=True
    ),
    "conflict": ProblemType(409, "Conflict", "What was asked cannot be done in the present state."),
    "idempotency-in-progress": ProblemType(
        409,
        "Idempotency-Key in use",
        "A request with the same Idempotency-Key is being accepted right now. Send it again in a moment.",
        is_retryable=True,
    ),
    "job-already-terminal": ProblemType(
        409, "Job has ended", "The job has ended otherwise; there is nothing left to cancel."
    ),
    "job-canceling": ProblemType(
        409,
        "Job is being ended",
        "It was canceled, or its run is over; calls that were sent before still wind down. Retry when it has ended.",
        is_retryable=True,
    ),
    "job-not-ended": ProblemType(
        409,
        "Job has not ended",
        "What is under way cannot be removed. Cancel the job, and remove it when it has ended.",
        is_retryable=True,
    ),
    "nothing-to-retry": ProblemType(
        409,
        "Nothing to retry",
        "No image of those named has ended without a picture. Completed images are kept.",
    ),
    "schedule-exists": ProblemType(
        409, "Schedule exists", "There is a schedule of this name already. Change that one, or choose another name."
    ),
    "image-not-ready": ProblemType(
        409,
        "Image not ready",
        "The image has no picture, or none yet. Its job says where it stands and whether to wait.",
    ),
    "endpoint-disabled": ProblemType(
        409, "Webhook disabled", "The webhook is disabled or deleted: nothing is sent there. Enable it first."
    ),
    "too-many-webhooks": ProblemType(409, "Too many webhooks", "The account has 100 webhooks. Delete one first."),
    "built-in-style": ProblemType(
        409,
        "Built-in style",
        "The style comes with Safelight and cannot be deleted. One of your own under its name goes before it.",
    ),
    "account-not-billed": ProblemType(
        409, "Account not billed", "The account pays nothing in advance. Say what it is billed in first."
    ),
    "insufficient-balance": ProblemType(
        409, "Insufficient balance", "Less is available than would be taken back. What is held is not available."
    ),
    "too-many-styles": ProblemType(409, "Too many styles", "The account has 100 styles. Delete one first."),
    "upload-in-use": ProblemType(
        409,
        "Upload in use",
        "A job that has not ended is to be made from the upload. Delete it when the job has ended.",
        is_retryable=True,
    ),
    "gone": ProblemType(
        410,
        "Gone",
        "What was there has been removed for good: at its owner's request, or because it was kept for as long as was "
        "agreed.",
    ),
    "precondition-failed": ProblemType(
        412,
        "Precondition failed",
        "What is there is not what `If-Match` or `If-None-Match` expects: somebody has changed it. Look at it again.",
    ),
    "payload-too-large": ProblemType(
        413, "Payload too large", "A request body has at most 8 MB, an uploaded picture at most 20 MB."
    ),
    "image-too-large": ProblemType(
        413,
        "Image too large",
        "A picture has at most 40 megapixels and 20 MB, unpacks to no more than a picture is, and takes at most 32 MB "
        "when it is written anew.",
    ),
    "unsupported-media-type": ProblemType(
        415,
        "Unsupported media type",
        "Send the body as `Content-Type: application/json` in UTF-8, and an upload as `multipart/form-data`.",
    ),
    "unsupported-image": ProblemType(
        415,
        "Unsupported image",
        "A picture is a PNG, JPEG, WebP or AVIF by its own bytes, whatever it is called. One with more than one frame "
        "is answered with 422.",
    ),
    "unsupported-encoding": ProblemType(
        415, "Unsupported encoding", "Send the body as it is, without `Content-Encoding`."
    ),
    "range-not-satisfiable": ProblemType(
        416, "Range not satisfiable", "The picture ends before the range begins. `Content-Range` says how long it is."
    ),
    "validation-error": ProblemType(
        422,
        "Invalid request",
        "The request cannot be accepted as it stands; nothing was created. `errors` lists every fault: "
        "`pointer` is a JSON Pointer into the body, `parameter` a query parameter.",
    ),
    "unknown-field": ProblemType(
        422,
        "Unknown field",
        "A field or query parameter does not exist, or does not work yet. Unknown fields are errors, so that "
        "a typing mistake is not taken for a default.",
    ),
    "invalid-text": ProblemType(
        422,
        "Invalid text",
        "A text holds a lone surrogate, NUL or another control character. Line feeds and tabs are fine.",
    ),
    "prompt-too-long": ProblemType(
        422, "Prompt too long", "A prompt has at most 32 000 characters, or fewer if its model takes fewer."
    ),
    "corrupt-image": ProblemType(
        422, "Corrupt image", "The picture is cut short or damaged: it cannot be decoded to its last row."
    ),
    "unsupported-size": ProblemType(
        422,
        "Unsupported size",
        "The model does not make this aspect ratio or size, both were named, or an output is out of range.",
    ),
    "unsupported-format": ProblemType(422, "Unsupported format", "An output cannot be written in this format."),
    "unsupported-option": ProblemType(
        422,
        "Unsupported option",
        "The model does not take this option. Options are refused rather than silently dropped.",
    ),
    "unknown-model": ProblemType(
        422, "Unknown model", "The provider is not configured, or it does not have this model (any more)."
    ),
    "price-unknown": ProblemType(
        422,
        "Price unknown",
        "The job has a `max_cost_usd`, or its account a budget or a balance in dollars, and nobody knows what one of "
        "the models costs. Give the model a price in its provider's settings, or order another one.",
    ),
    "no-provider": ProblemType(
        422,
        "No provider",
        "The request names no provider and there is no obvious one. Name one, or configure a default.",
    ),
    "url-not-allowed": ProblemType(
        422,
        "URL not allowed",
        "Safelight asks addresses that others name over HTTPS only, on port 443 or 8443, without a user, a password or "
        "a fragment, and only where every address that the host leads to is public. `SAFELIGHT_EGRESS_ALLOW` adds to "
        "that.",
    ),
    "url-unresolvable": ProblemType(
        422, "URL not resolvable", "The URL's host leads to no address at the moment.", is_retryable=True
    ),
    "idempotency-key-reused": ProblemType(
        422,
        "Idempotency-Key reused",
        "This Idempotency-Key belongs to a job that was made by a different request. Use a key of its own.",
    ),
    "too-many-streams": ProblemType(
        429,
        "Too many streams",
        "The process holds as many open streams as it may (`SAFELIGHT_MAX_STREAMS`). Come back later, or ask for the "
        "job's events page by page.",
        is_retryable=True,
    ),
    "rate-limited": ProblemType(
        429,
        "Too many requests",
        "The key, or the address where no key is needed, has made more requests of this process than it may "
        "(`SAFELIGHT_REQUESTS_PER_MINUTE`). Nothing was done. Send it again after `Retry-After`.",
        is_retryable=True,
    ),
    "internal-error": ProblemType(
        500,
        "Internal error",
        "Safelight made a mistake; its log has the details under the request id. With an Idempotency-Key the "
        "same request can be sent again without doing anything twice.",
        is_retryable=True,
    ),
    "unavailable": ProblemType(
        503,
        "Unavailable",
        "The database or the storage does not answer at the moment, or the service is stopping.",
        is_retryable=True,
    ),
    "too-many-uploads": ProblemType(
        503,
        "Too many uploads",
        "The process takes as many uploads at once as it may, or as many of one account. Send it again in a moment.",
        is_retryable=True,
    ),
    "queue-full": ProblemType(
        503,
        "Queue full",
        "As many images wait as may, in all or of the account. Nothing was created. Send it again later.",
        is_retryable=True,
    ),
    "storage-full": ProblemType(
        503, "Storage full", "The database has no room left. An operator has to act.", is_retryable=True
    ),
}


@dataclass(frozen=True, slots=True)
class RequestFault(Fault):
    """A fault with a kind of its own. With `in_query`, `pointer` is the name of a query parameter."""

    slug: str = "validation-error"
    in_query: bool = False


def problem(
    request: Request,
    slug: str,
    detail: str,
    *,
    faults: Sequence[Fault] = (),
    retry_after_seconds: int | None = None,
    headers: Mapping[str, str] | None = None,
    more_members: Mapping[str, int] | None = None,
    status: int | None = None,
) -> Response:
    """The answer. `detail` is for a person and never quotes the request's texts; `more_members` are the kind's own.
    `status`: for one of a kind that is usually answered with another."""
    kind = PROBLEMS[slug]
    status = status or kind.status
    more = {"Cache-Control": "no-store", **(headers or {})}
    if retry_after_seconds is not None:
        more["Retry-After"] = str(retry_after_seconds)
    body = {
        "type": type_of(slug),
        "title": kind.title,
        "status": status,
        "detail": detail if len(faults) <= MAX_FAULTS else f"{detail} The first {MAX_FAULTS} are listed.",
        "instance": _instance(request),
        "request_id": request_id_of(request.scope),
        "errors": [_listed(fault) for fault in faults[:MAX_FAULTS]],
        "retryable": kind.is_retryable,
        "retry_after": retry_after_seconds,
        **(more_members or {}),
    }
    return Response(orjson.dumps(body), status, more, MEDIA_TYPE)


def type_of(slug: str) -> str:
    return f"/problems/{slug}"


def common_slug(faults: Sequence[Fault]) -> str:
    """The kind of a problem with these faults: theirs if they agree, else `validation-error`.

    An unknown field may be another one misspelt, which explains other faults; so it names the problem.
    """
    slugs = {_slug_of(fault) for fault in faults}
    if "unknown-field" in slugs:
        return "unknown-field"
    return slugs.pop() if len(slugs) == 1 else "validation-error"


def _listed(fault: Fault) -> dict[str, str]:
    where = "parameter" if isinstance(fault, RequestFault) and fault.in_query else "pointer"
    return {where: fault.pointer, "detail": fault.detail, "type": type_of(_slug_of(fault))}


def _slug_of(fault: Fault) -> str:
    return fault.slug if isinstance(fault, RequestFault) else "validation-error"


def _instance(request: Request) -> str:
    """The path as it was sent, still encoded; never the query."""
    sent = request.scope.get("raw_path") or b""
    return sent.decode("ascii", "replace")[:_MAX_INSTANCE_CHARS]
