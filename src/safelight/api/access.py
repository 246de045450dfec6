"""What a route asks of its caller: take one of these as a parameter, and the request is refused before it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from safelight.domain.access import ANYBODY, Caller, KeyScope
from safelight.domain.errors import Forbidden


def _who(scope: KeyScope) -> Callable[[Request], Caller]:
    async def caller(request: Request) -> Caller:
        found: Caller = request.scope.get("safelight.caller", ANYBODY)
        if not found.may(scope):
            raise Forbidden(f"This needs a key with the scope `{scope}`.", slug="insufficient-scope")
        return found

    return caller  # pyright: ignore[reportReturnType]


READS = Depends(_who(KeyScope.READ))
SUBMITS = Depends(_who(KeyScope.SUBMIT))
ADMINISTERS = Depends(_who(KeyScope.ADMIN))
"""For a route, or a router, that does not ask who it is."""

Reads = Annotated[Caller, READS]
Submits = Annotated[Caller, SUBMITS]
Administers = Annotated[Caller, ADMINISTERS]
