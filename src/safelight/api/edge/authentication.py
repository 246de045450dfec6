"""Who calls, found out before anything of a request is read but its head."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.api.access import NO_KEY, set_caller
from safelight.api.edge.failures import answer_to
from safelight.api.passes import bears_link
from safelight.domain.errors import Unauthenticated
from safelight.domain.keys import has_key
from safelight.engine.keyring import Keyring

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/oauth2-redirect"})
"""What tells nothing of anybody."""
_OPEN_FOLDER = "/problems/"

_BEARER = re.compile(r"Bearer +(\S{1,200}) *", re.IGNORECASE)


class Authentication:
    """Says on whose behalf a request is made, and sends it away where that is nobody's.

    Every address needs a key but the open ones, also one that does not exist: what is forgotten here is closed. A
    picture may be asked for with a link instead.
    """

    def __init__(self, app: ASGIApp, *, keyring: Keyring) -> None:
        self._app = app
        self._keyring = keyring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            caller = await self._keyring.caller(_key_of(request))
            if caller is None and not bears_link(request):
                raise Unauthenticated(NO_KEY)
        except Exception as error:  # the routes' own net is not around us: what it does not know is raised again
            await answer_to(request, error)(scope, receive, send)
            return
        if caller is not None:  # else the route finds out whether the link is good
            set_caller(scope, caller)
        await self._app(scope, receive, send)


def is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(_OPEN_FOLDER)


def _key_of(request: Request) -> str | None:
    """The key that was sent. None for none, for two, and for one that stands in the address as well, where it has been
    written into logs on the way."""
    sent = request.headers.getlist("authorization")
    match = _BEARER.fullmatch(sent[0]) if len(sent) == 1 else None
    asked = unquote(request.scope["query_string"].decode("latin-1"))
    return match[1] if match is not None and not has_key(asked) else None
