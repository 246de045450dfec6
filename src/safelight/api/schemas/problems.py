"""Answers that say no: RFC 9457."""

from __future__ import annotations

from safelight.api.schemas.base import Answer


class ProblemError(Answer):
    pointer: str | None = None
    parameter: str | None = None
    detail: str
    type: str


class Problem(Answer):
    """RFC 9457, as `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[ProblemError]
    retryable: bool
    retry_after: int | None
    remaining_micros: int | None = None
    """Of `budget-exceeded`: what is left, in millionths of a US dollar."""
    remaining_credits: int | None = None
    """The same where it is credits."""
