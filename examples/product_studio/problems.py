"""How the studio says no: problem+json, its own and Safelight's, whose faults are told at the studio's own fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from safelight.client import ApiProblem, Forbidden, Unauthenticated

_TELLING = ("title", "detail", "remaining_credits", "retryable", "retry_after")
"""What of Safelight's problem is the user's business. Its `instance` and `request_id` are not."""
_PASSES = frozenset({408, 429})
"""Refusals that say nothing about the request itself."""

_FIELDS = (
    (re.compile(r"^/images/(\d+)/(?:alternate_)?prompt$"), r"/scenes/\1"),
    (re.compile(r"^/images/\d+/references/0(?:/.*)?$"), "/product"),
    (re.compile(r"^/images/\d+/references(?:/.*)?$"), "/person"),
    (re.compile(r"^/(?:defaults|images/\d+)/(?:provider|model)$"), "/model"),
    (re.compile(r"^/(?:defaults|images/\d+)/(aspect_ratio|quality)$"), r"/\1"),
    (re.compile(r"^/(?:images/\d+/)?style$"), "/style"),
)
"""Where the fields of a job come from in the form."""


class Problem(Exception):
    """An answer that is no success; `document` is its body, but for the status."""

    def __init__(self, status: int, slug: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.document: dict[str, Any] = {"type": slug, "detail": detail, **members}

    @property
    def body(self) -> dict[str, Any]:
        return {**self.document, "status": self.status}


class NotThere(Problem):
    """Nobody has it, or somebody else: that is not told apart."""

    def __init__(self, what: str) -> None:
        super().__init__(404, "not-found", f"There is no such {what}.")


class Away(Problem):
    """Safelight does not answer, or not as it should; nothing is known of what was asked for."""

    def __init__(self) -> None:
        super().__init__(503, "safelight-away", "The pictures' service does not answer. Try again in a moment.")


def is_refusal(problem: ApiProblem) -> bool:
    """Whether Safelight said no to the order itself, so that nothing was created and sending it again will not help."""
    if isinstance(problem, Unauthenticated | Forbidden) or problem.is_retryable or problem.status in _PASSES:
        return False
    return 400 <= problem.status < 500


def passed_on(problem: ApiProblem) -> Problem:
    """The same for the studio's user: status, kind and words are Safelight's, pointers are into the studio's form.

    A key that is not good is the studio's trouble and not its user's: that becomes Away, and so does every 5xx.
    """
    if not is_refusal(problem) and problem.status not in _PASSES:
        return Away()
    members = {name: problem.document[name] for name in _TELLING if problem.document.get(name) is not None}
    if errors := _faults(problem.document.get("errors") or ()):
        members["errors"] = errors
    detail = members.pop("detail", problem.detail)
    return Problem(problem.status, problem.slug, detail, **members)


def _faults(errors: Any) -> list[dict[str, str]]:
    """Each once: what is wrong with all scenes is said of every image."""
    found: dict[tuple[str, str], None] = {}
    for each in errors:
        found[_field(str(each.get("pointer", ""))), str(each.get("detail", ""))] = None
    return [{"pointer": pointer, "detail": detail} for pointer, detail in found]


def _field(pointer: str) -> str:
    """The form's own field; empty, which is the form as a whole, for what the user did not choose."""
    for pattern, field in _FIELDS:
        if pattern.match(pointer):
            return pattern.sub(field, pointer)
    return ""


def form_problem(errors: list[Mapping[str, Any]]) -> Problem:
    """For a request that is no order at all, whatever Safelight would say."""
    faults = [{"pointer": "".join(f"/{part}" for part in e["loc"][1:]), "detail": str(e["msg"])} for e in errors]
    return Problem(422, "validation-error", "The request is not one that the studio understands.", errors=faults)
