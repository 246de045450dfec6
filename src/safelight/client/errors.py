"""What a caller of the client has to expect."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import httpx2

from safelight.domain.errors import Fault, SafelightError

_PASSING = frozenset({502, 503, 504})
"""What a proxy in front of a service that restarts says."""
_FAULTS_SHOWN = 3


class Unreachable(SafelightError):
    """No answer came from `url`: nothing listens there, or the connection broke."""

    slug = "unreachable"

    def __init__(self, url: str, detail: str) -> None:
        super().__init__(detail)
        self.url = url


class ApiProblem(SafelightError):
    """The service answered no; `slug` names the problem type, `errors` the fields at fault.

    `is_retryable`: the same request may succeed later, and not before `retry_after_seconds` where that is known.
    `document` is the problem with every member, such as `remaining_credits`; empty where the answer was none.
    """

    def __init__(
        self,
        *,
        status: int,
        slug: str,
        detail: str,
        errors: tuple[Fault, ...] = (),
        is_retryable: bool = False,
        retry_after_seconds: float | None = None,
        document: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(detail, slug=slug)
        self.status = status
        self.errors = errors
        self.is_retryable = is_retryable
        self.retry_after_seconds = retry_after_seconds
        self.document = document

    def __str__(self) -> str:
        shown = [f"{each.pointer} {each.detail}" for each in self.errors[:_FAULTS_SHOWN]]
        if len(self.errors) > _FAULTS_SHOWN:
            shown.append(f"and {len(self.errors) - _FAULTS_SHOWN} more")
        return f"{self.detail} ({'; '.join(shown)})" if shown else self.detail


class Unauthenticated(ApiProblem):
    """The service needs an API key: none was sent, or one that it does not take, or takes no longer."""

    def __str__(self) -> str:
        return f"{super().__str__()} Set SAFELIGHT_API_KEY, or give the client an `api_key`."


class Forbidden(ApiProblem):
    """The key is good, and may not do this."""


class NoStream(SafelightError):
    """What answered is no stream of events, or none of ours: a proxy's page, say."""

    slug = "no-stream"


class NotRead(SafelightError):
    """A file that was to be sent could not be read; the message says which."""

    slug = "not-read"


class NotSaved(SafelightError):
    """A picture could not be written where it belongs, arrived damaged or was removed; the message says which."""

    slug = "not-saved"


def unreachable(error: httpx2.RequestError, url: str) -> Unreachable:
    if isinstance(error, httpx2.ConnectError):
        return Unreachable(url, f"nothing answers at {url}; start it with `safelight serve`")
    return Unreachable(url, f"no answer from {url} ({type(error).__name__})")


def asked_pause_seconds(error: Unreachable | ApiProblem) -> float:
    """How long the service asks to be left alone after it; 0 where it does not say."""
    return (error.retry_after_seconds or 0.0) if isinstance(error, ApiProblem) else 0.0


def retry_after_seconds_of(response: httpx2.Response) -> float | None:
    retry_after = response.headers.get("retry-after", "")
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None


def problem_of(response: httpx2.Response) -> ApiProblem:
    """What an answer says that is no success. Its body has been read."""
    status = response.status_code
    retry_after_seconds = retry_after_seconds_of(response)
    problem = _problem_json(response)
    if problem is None:
        return _KINDS.get(status, ApiProblem)(
            status=status,
            slug=f"http-{status}",
            detail=f"HTTP {status} from {response.url}",
            is_retryable=status in _PASSING,
            retry_after_seconds=retry_after_seconds,
        )
    return _KINDS.get(status, ApiProblem)(
        status=status,
        slug=str(problem.get("type", "")).rpartition("/")[2],
        detail=str(problem.get("detail") or problem.get("title") or f"HTTP {status}"),
        errors=tuple(
            Fault(str(each.get("pointer") or each.get("parameter") or ""), str(each.get("detail", "")))
            for each in problem.get("errors", ())
        ),
        is_retryable=bool(problem.get("retryable")),
        retry_after_seconds=retry_after_seconds,
        document=problem,
    )


_KINDS: dict[int, type[ApiProblem]] = {401: Unauthenticated, 403: Forbidden}


def not_understood(response: httpx2.Response) -> ApiProblem:
    """For a success that something else than the service tells of."""
    media_type = response.headers.get("content-type", "").partition(";")[0] or "no type at all"
    return ApiProblem(
        status=response.status_code,
        slug=f"http-{response.status_code}",
        detail=f"{response.url} answers with {media_type}, and not what a Safelight says there",
    )


def redirected(response: httpx2.Response, method: str) -> ApiProblem:
    """For a request that became another one on its way to this answer: what it was to change has not been changed."""
    first = response.history[0]
    where = f"{first.url} leads on to {response.url}"
    return ApiProblem(
        status=first.status_code,
        slug=f"http-{first.status_code}",
        detail=f"{where}, where a {method} arrives as a GET; use that address from the start",
    )


def _problem_json(response: httpx2.Response) -> dict[str, Any] | None:
    if response.headers.get("content-type", "").partition(";")[0] != "application/problem+json":
        return None
    try:
        problem = response.json()
    except ValueError:
        return None  # cut off on the way
    return problem if isinstance(problem, dict) else None
