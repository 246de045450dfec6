"""What this app refuses, and what becomes of Safelight's refusals."""

from __future__ import annotations

from typing import Any, Self

from safelight.client import ApiProblem

_PASSED_ON = frozenset({402, 404, 409, 410, 413, 415, 422})
"""These are about what the client asked for; all others are about us, and the client can only come back."""


class Problem(Exception):
    """Answered with `status` and `{"code", "message", "faults"}`. `faults` are Safelight's, with pointers into the job
    that it was asked for."""

    def __init__(self, status: int, code: str, message: str, *, faults: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.faults = faults or []

    @classmethod
    def of_refusal(cls, refusal: dict[str, Any]) -> Self:
        return cls(refusal["status"], refusal["reason"], refusal["message"], faults=refusal["faults"])

    def as_refusal(self) -> dict[str, Any]:
        """The `error` of a job that Safelight did not take."""
        return {
            "code": "rejected",
            "kind": None,
            "reason": self.code,
            "message": self.message,
            "retryable": False,
            "billed": "no",
            "status": self.status,
            "faults": self.faults,
        }


def is_passing(problem: ApiProblem) -> bool:
    """Whether the same request may be taken later. A key of ours that is not good any more is a matter of our own: jobs
    wait until somebody has set the right one."""
    return problem.is_retryable or problem.status in (401, 403) or problem.status >= 500


def from_safelight(problem: ApiProblem) -> Problem:
    if problem.status not in _PASSED_ON:
        return Problem(503, "unavailable", "Safelight does not take this at the moment. Ask again later.")
    faults = [{"pointer": each.pointer, "detail": each.detail} for each in problem.errors]
    return Problem(problem.status, problem.slug, problem.detail, faults=faults)
