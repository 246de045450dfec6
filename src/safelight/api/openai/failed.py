"""What is said of a job that has no picture at all: the status that makes a client raise what it should.

Nothing of the vendor's key or account is in it. Safelight has tried again for as long as the job had time, so clients
are told not to do so by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from safelight.api.openai.errors import error_answer
from safelight.domain.errors import ErrorKind
from safelight.domain.lifecycle import ImageStatus

_REFUSAL_KIND = "image_generation_user_error"
_POLICY = "CONTENT_POLICY_VIOLATION"
_ACCOUNT_CODES = frozenset({"INSUFFICIENT_QUOTA", "BILLING_HARD_LIMIT_REACHED", "BILLING_NOT_ACTIVE"})
_SERVER: Mapping[str, tuple[int, str, str]] = {
    ErrorKind.RATE_LIMIT: (429, "rate_limit_exceeded", "The vendor takes no more requests at the moment."),
    ErrorKind.TEMPORARY: (503, "provider_unavailable", "The vendor could not make the picture in time."),
    ErrorKind.TIMEOUT: (503, "provider_timeout", "The vendor did not answer in time."),
    ErrorKind.DEADLINE: (503, "deadline_exceeded", "The time for the picture was over before it was made."),
    ErrorKind.AUTH_ERROR: (502, "provider_error", "The vendor did not let Safelight in; its operator has to act."),
    ErrorKind.BUDGET: (429, "insufficient_quota", "The budget is used up."),
    ErrorKind.STORAGE: (503, "storage_unavailable", "The picture was made and could not be stored."),
}
_OTHERWISE = (502, "provider_error", "The vendor failed on this request.")


def failed_answer(images: Sequence[Mapping[str, Any]], *, headers: Mapping[str, str]) -> Response:
    """`images` are those of a job that has ended without a picture, each with its status and its error. A refusal is
    the answer only if there is nothing else: otherwise what went wrong besides."""
    statuses = {image["status"] for image in images}
    if statuses <= {ImageStatus.REFUSED}:
        error = images[0]["error"] or {}
        code = "content_policy_violation" if error.get("code") == _POLICY else "moderation_blocked"
        message = "The request was refused by the safety policy of the vendor."
        return error_answer(400, code, message, kind=_REFUSAL_KIND, headers=headers)
    others = [image for image in images if image["status"] != ImageStatus.REFUSED]
    worst = next((image for image in others if image["status"] != ImageStatus.CANCELED), others[0])
    if worst["status"] == ImageStatus.CANCELED:
        return error_answer(409, "job_canceled", "The job was canceled.", headers=headers)
    if worst["status"] == ImageStatus.UNCERTAIN:
        message = "Nobody knows what became of the request at the vendor; it may have been charged."
        return error_answer(503, "outcome_uncertain", message, kind="server_error", headers=headers)
    error = worst["error"] or {}
    kind, code = error.get("kind"), error.get("code")
    if kind == ErrorKind.PERMANENT and code not in _ACCOUNT_CODES:
        message = f"The vendor does not take this request: {error.get('message') or code}"
        return error_answer(400, "provider_rejected", message, headers=headers)
    status, name, message = _SERVER.get(str(kind), _OTHERWISE)
    kind_of_error = "insufficient_quota" if kind == ErrorKind.BUDGET else _type(status)
    return error_answer(status, name, message, kind=kind_of_error, headers=headers)


def why_missing(image: Mapping[str, Any]) -> tuple[str, str]:
    """The code and the words for one picture that is missing beside others."""
    error = image["error"] or {}
    if image["status"] == ImageStatus.REFUSED:
        return "moderation_blocked", "Refused by the safety policy of the vendor."
    if image["status"] == ImageStatus.CANCELED:
        return "job_canceled", "Canceled."
    _, name, message = _SERVER.get(str(error.get("kind")), _OTHERWISE)
    return name, message


def _type(status: int) -> str:
    return "rate_limit_error" if status == 429 else "server_error"
