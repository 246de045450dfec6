"""Who calls, found out before anything of a request is read but its head."""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.api.access import NO_KEY, caller_in, set_caller
from safelight.api.edge.failures import answer_to
from safelight.api.edge.origin import is_from_here
from safelight.api.edge.rate import RequestRate
from safelight.api.edge.session import SESSION_COOKIE, Sessions
from safelight.api.pictures.passes import bears_link
from safelight.domain.access import ANYBODY, Caller
from safelight.domain.errors import SafelightError, Unauthenticated
from safelight.domain.keys import has_key
from safelight.engine.accounts.keyring import Keyring

OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/oauth2-redirect"})
"""What tells nothing of anybody."""
_OPEN_FOLDERS = ("/problems/", "/dashboard/static/")
_DASHBOARD = "/dashboard"
_READING = frozenset({"GET", "HEAD"})
_FOREIGN = "A page of another site has sent this. While the service needs no key, it changes nothing for one."

_BEARER = re.compile(r"Bearer +(\S{1,200}) *", re.IGNORECASE)


class Authentication:
    """Says on whose behalf a request is made, and sends it away where that is nobody's.

    Every address needs a key but the open ones, also one that does not exist: what is forgotten here is closed. A
    picture may be asked for with a link instead. Somebody who is signed in at the dashboard may read with the cookie
    alone, which is how a browser follows a stream or saves a table; where there is a link, that counts. The dashboard
    itself sends away whom it does not know, and has found out on whose behalf it asks. Where nobody needs a key, every
    page on the web can make a browser of this machine call: from there nothing is taken that is more than a look.

    Whoever has been let in is counted by `rate`, and sent away with one request too many. What the dashboard asks for
    somebody is not counted. An answer that goes on for longer asks again (`still_calls`).
    """

    def __init__(self, app: ASGIApp, *, keyring: Keyring, sessions: Sessions, rate: RequestRate) -> None:
        self._app = app
        self._keyring = keyring
        self._sessions = sessions
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]) or caller_in(scope) is not None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            caller = await self._caller_of(request)
            if not in_dashboard(scope["path"]):
                _require_leave(request, caller)
            if caller is not None:  # else the route finds out whether the link is good
                set_caller(scope, caller, calls_now=self._caller_of)
                await self._rate.require_room(request, caller)
        except Exception as error:  # the routes' own net is not around us: what it does not know is raised again
            await answer_to(request, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _caller_of(self, request: Request) -> Caller | None:
        return await self._keyring.caller(self._key_of(request))

    def _key_of(self, request: Request) -> str | None:
        if "authorization" in request.headers:
            return _key_of(request)
        cookie = request.cookies.get(SESSION_COOKIE)
        may_count = in_dashboard(request.scope["path"]) or (request.method in _READING and not bears_link(request))
        return self._sessions.key_in(cookie) if cookie is not None and may_count else None


def is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(_OPEN_FOLDERS)


def in_dashboard(path: str) -> bool:
    return path == _DASHBOARD or path.startswith(f"{_DASHBOARD}/")


def _require_leave(request: Request, caller: Caller | None) -> None:
    """Raises Unauthenticated, and SafelightError (`foreign-page`)."""
    if caller is None and not bears_link(request):
        raise Unauthenticated(NO_KEY)
    if caller is ANYBODY and request.method not in _READING and not is_from_here(request):
        raise SafelightError(_FOREIGN, slug="foreign-page")


def _key_of(request: Request) -> str | None:
    """The key that was sent. None for none, for two, and for one that stands in the address as well, where it has been
    written into logs on the way."""
    sent = request.headers.getlist("authorization")
    match = _BEARER.fullmatch(sent[0]) if len(sent) == 1 else None
    asked = unquote(request.scope["query_string"].decode("latin-1"))
    return match[1] if match is not None and not has_key(asked) else None
