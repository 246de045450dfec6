"""What a route asks of its caller: take one of these as a parameter, and the request is refused before it is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Request, Security
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.types import Scope

from safelight.domain.access import Caller, KeyScope
from safelight.domain.errors import Forbidden, NotFound, Unauthenticated

_CALLER = "safelight.caller"
_CALLS_NOW = "safelight.calls_now"
CallerOf = Callable[[Request], Awaitable[Caller | None]]
KEY_SCHEME = HTTPBearer(
    bearerFormat="sl_{id}_{secret}",
    description="An API key. A service on loopback runs open, and needs none, until the first one is made.",
)
NO_KEY = "This needs a key that is good, as `Authorization: Bearer sl_…`."


class _Who(SecurityBase):
    """Whoever calls, if they may do what has this scope. Raises Unauthenticated and Forbidden."""

    def __init__(self, scope: KeyScope) -> None:
        self.model = KEY_SCHEME
        self.scheme_name = "key"
        self.scope = scope

    async def __call__(self, request: Request) -> Caller:
        found = caller_in(request.scope)
        if found is None:
            raise Unauthenticated(NO_KEY)
        if not found.may(self.scope):
            raise Forbidden(f"This needs a key with the scope `{self.scope}`.")
        return found


def caller_in(scope: Scope) -> Caller | None:
    """Whoever was found to call; None where nobody was, which is not the same as anybody."""
    return scope.get(_CALLER)


def set_caller(scope: Scope, caller: Caller, *, calls_now: CallerOf | None = None) -> None:
    """`calls_now` finds out who calls with what a request has shown, as it is by then."""
    scope[_CALLER] = caller
    scope[_CALLS_NOW] = calls_now


async def still_calls(request: Request) -> bool:
    """Whether it would be let in now as it was: for an answer that takes its time. Raises what the database raises."""
    calls_now: CallerOf | None = request.scope.get(_CALLS_NOW)
    return calls_now is None or await calls_now(request) == caller_in(request.scope)


async def require_still(request: Request) -> None:
    """Raises Unauthenticated where it would not be let in now."""
    if not await still_calls(request):
        raise Unauthenticated(NO_KEY)


def acting_for(caller: Caller, account: str | None) -> str:
    """The account that a request works on: its caller's own, or the one that it names, which is an admin's to do.

    Raises NotFound for another's, whether it exists or not.
    """
    if account is None or account == caller.account:
        return caller.account
    if KeyScope.ADMIN not in caller.scopes:
        raise NotFound("There is no such account.")
    return account


def reach_of(caller: Caller) -> str | None:
    """The account whose things the caller finds by their ids; None for an admin, who finds everybody's."""
    return None if KeyScope.ADMIN in caller.scopes else caller.account


def _needs(scope: KeyScope) -> Any:
    return Security(_Who(scope), scopes=[scope.value])


READS = _needs(KeyScope.READ)
SUBMITS = _needs(KeyScope.SUBMIT)
ADMINISTERS = _needs(KeyScope.ADMIN)
"""For a route, or a router, that does not ask who it is."""

Reads = Annotated[Caller, READS]
Submits = Annotated[Caller, SUBMITS]
Administers = Annotated[Caller, ADMINISTERS]
