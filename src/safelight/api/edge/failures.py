"""From an exception to its problem, which says no more than the caller may know."""

from __future__ import annotations

import asyncpg
import structlog
from asyncpg.exceptions import (
    DiskFullError,
    IdleInTransactionSessionTimeoutError,
    InsufficientResourcesError,
    LockNotAvailableError,
    OperatorInterventionError,
    PostgresConnectionError,
    TransactionRollbackError,
)
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path

from safelight.api.edge.faults import query_faults, refused
from safelight.api.edge.problems import problem
from safelight.domain.errors import BudgetExceeded, InvalidRequest, SafelightError, Unavailable

_RETRY_SECONDS = 2
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_PASSING = (
    PostgresConnectionError,
    OperatorInterventionError,
    InsufficientResourcesError,
    TransactionRollbackError,
    LockNotAvailableError,
    IdleInTransactionSessionTimeoutError,
)
"""The database's errors that say nothing about the statement: it was cut off, ended, full, or slow."""
_CHALLENGES = {"unauthenticated": {"WWW-Authenticate": "Bearer"}}

log = structlog.get_logger(__name__)


def install(app: FastAPI) -> None:
    """Every failure of a route becomes a problem."""
    app.add_exception_handler(SafelightError, _domain)
    app.add_exception_handler(RequestValidationError, _parameters)
    app.add_exception_handler(HTTPException, _routing)
    app.add_exception_handler(asyncpg.PostgresError, _database)
    app.add_exception_handler(asyncpg.InterfaceError, _database)
    # asyncpg's word for a connection that was ended between two statements, at an unlucky moment.
    app.add_exception_handler(asyncpg.InternalClientError, _unreachable)
    app.add_exception_handler(OSError, _unreachable)


def answer_to(request: Request, error: Exception) -> Response:
    """The problem that an error is, for what stands before the routes. Raises one that nobody expects."""
    if isinstance(error, SafelightError):
        return _domain(request, error)
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        return _database(request, error)
    if isinstance(error, asyncpg.InternalClientError | OSError):
        return _unreachable(request, error)
    raise error


def internal_error(request: Request) -> Response:
    return problem(request, "internal-error", "Safelight failed on this request; its log says how.")


def _domain(request: Request, error: Exception) -> Response:
    assert isinstance(error, SafelightError)
    wait = error.retry_after_seconds if isinstance(error, Unavailable) else None
    faults = error.faults if isinstance(error, InvalidRequest) else ()
    # Nobody waits any longer for the rest of that body. Elsewhere the server discards the rest of one, because a
    # connection that closes on unread data is reset, and the answer may be lost with it.
    headers = {"Connection": "close"} if error.slug == "request-timeout" else _CHALLENGES.get(error.slug)
    members = error.remaining if isinstance(error, BudgetExceeded) else None
    return problem(
        request,
        error.slug,
        error.detail,
        faults=faults,
        retry_after_seconds=wait,
        headers=headers,
        more_members=members,
    )


def _parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _domain(request, refused(query_faults(error.errors())))


def _routing(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = _allowed_methods(request)
        detail = f"This address takes {allowed}."
        return problem(request, "method-not-allowed", detail, headers={"Allow": allowed})
    return problem(request, "not-found", "There is nothing under this address.")


def _allowed_methods(request: Request) -> str:
    """Of the routes that the path matches, those that take its words for what they are: `/webhooks/deliveries` is a
    list, though it could be a webhook of that name."""
    methods: dict[str, set[str]] = {}
    for route in iter_route_contexts(request.app.routes):
        path = getattr(route, "path", None)
        if path is not None and compile_path(path)[0].match(request.scope["path"]):
            methods.setdefault(path, set()).update(getattr(route, "methods", None) or ())
    plainest = min(methods, key=lambda path: path.count("{"), default="")
    return ", ".join(method for method in _METHODS if method in methods.get(plainest, ()))


def _database(request: Request, error: Exception) -> Response:
    """A statement that is wrong, or a value that does not fit it, is our mistake and stays one."""
    if isinstance(error, DiskFullError):
        log.error("the database has no room left")
        return problem(request, "storage-full", "The database has no room left.", retry_after_seconds=_RETRY_SECONDS)
    is_passing = isinstance(error, _PASSING) or (
        isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)
    )
    if not is_passing:
        raise error
    return _unreachable(request, error)


def _unreachable(request: Request, error: Exception) -> Response:
    log.warning("unavailable", error=type(error).__name__)
    return problem(
        request,
        "unavailable",
        "The database or the storage does not answer at the moment.",
        retry_after_seconds=_RETRY_SECONDS,
    )
