"""One request of one person: what they may ask of the API, what their form says, and the page that they get."""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import jinja2
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from safelight.api.access import caller_in
from safelight.api.edge.body import MAX_BODY_BYTES, read_pieces
from safelight.api.edge.origin import is_from_here
from safelight.dashboard.assets import Assets
from safelight.dashboard.inside import Inside, Refused
from safelight.dashboard.words import FILTERS
from safelight.domain.access import ANYBODY, Caller, KeyScope
from safelight.domain.errors import SafelightError

PREFIX = "/dashboard"

_FORM_COOKIE = "safelight_form"
_FORM_FIELD = "form_token"
_TOKEN_LENGTH = 43
_MOST_FIELDS = 1000
_READ_IN_PLACE_BYTES = 100_000
_MOST_BYTES_OF_A_STRANGER = 16_384
"""Of a form of somebody who is not signed in, which has a key and an address in it. Chosen."""
_FORM_SECONDS = 30.0
"""That a form may take to arrive."""
_FORM_TYPE = "application/x-www-form-urlencoded"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:{pictures}; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


class BadForm(Exception):
    """It does not come from a page of ours, or cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """`caller` is None for somebody who has not signed in, which only the page to do so sees."""

    request: Request
    caller: Caller | None
    pages: Pages
    token: str

    @property
    def is_fragment(self) -> bool:
        """The page is there already and asks for a part of itself."""
        return self.request.headers.get("hx-request") == "true"

    @property
    def is_from_elsewhere(self) -> bool:
        """A link of somebody else's led here, for which a browser keeps our cookies back."""
        return (
            self.request.method != "POST"
            and _FORM_COOKIE not in self.request.cookies
            and not is_from_here(self.request)
        )

    def may(self, scope: str) -> bool:
        return self.caller is not None and self.caller.may(KeyScope(scope))

    async def get(self, path: str, **query: Any) -> Any:
        """What the API answers, as JSON. Raises Refused."""
        return (await self.ask("GET", path, query=query)).json()

    async def send(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The same of a request that changes something; None where the answer is empty. Raises Refused."""
        response = await self.ask(method, path, body=body, query=query)
        return response.json() if response.content else None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The whole answer, for what is no JSON or has headers that matter."""
        return await self.pages.inside.ask(method, path, caller=self.caller, query=query, body=body, headers=headers)

    async def form(self) -> FormData:
        """What was sent, once it is sure that one of our own pages sent it. Raises BadForm."""
        if not is_from_here(self.request):
            raise BadForm("This form was not sent by a page of this service.")
        form = await _fields(
            self.request, max_bytes=MAX_BODY_BYTES if self.caller is not None else _MOST_BYTES_OF_A_STRANGER
        )
        sent, kept = form.get(_FORM_FIELD), self.request.cookies.get(_FORM_COOKIE)
        if not isinstance(sent, str) or not kept or not hmac.compare_digest(sent.encode(), kept.encode()):
            raise BadForm("This form is out of date. Go back, load the page again, and send it once more.")
        return form

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page, or a part of one. Every template knows `visit`, `token` (what a form has to send as `form_token`),
        `asset(name)`, `prefix`, and the filters of `words.py`."""
        text = self.pages.templates.get_template(template).render(
            visit=self, token=self.token, prefix=PREFIX, asset=self.pages.assets.url, **values
        )
        return HTMLResponse(text, status)

    def go_to(self, path: str, **query: Any) -> Response:
        """After a form: the browser loads the page at `path`, below the dashboard's address."""
        known = {name: value for name, value in query.items() if value is not None}
        return RedirectResponse(f"{PREFIX}{path}" + (f"?{urlencode(known)}" if known else ""), 303)


Handler = Callable[[Visit], Awaitable[Response]]


class Pages:
    """What all pages share. `pictures_from` are addresses where pictures may come from, besides any of HTTPS."""

    def __init__(self, inside: Inside, *, pictures_from: Iterable[str | None]) -> None:
        self.inside = inside
        self.assets = Assets(f"{PREFIX}/static")
        self.templates = _templates()
        places = [urlsplit(each) for each in pictures_from if each]
        self._policy = _POLICY.format(pictures="".join(f" {each.scheme}://{each.netloc}" for each in places))

    def route(
        self, path: str, handler: Handler, *, methods: tuple[str, ...] = ("GET",), is_open: bool = False
    ) -> Route:
        """Of a page: whoever has not signed in is sent to do so, but where it `is_open`; what the API refuses is shown
        as it says it. Who follows a link of another site's may have cookies, which come with a request from a page of
        ours: they get one that makes it. What comes from elsewhere sets none, so that forms in other tabs stay good."""

        async def endpoint(request: Request) -> Response:
            visit = Visit(request=request, caller=caller_in(request.scope), pages=self, token=_token_of(request))
            if visit.is_from_elsewhere:
                return self._guarded(visit.page("arrived.html", address=_sign_in_address(_here(visit))))
            try:
                response = await handler(visit) if is_open or visit.caller is not None else _to_sign_in(visit)
            except Refused as refused:
                if refused.status == 401 and visit.caller is not ANYBODY:
                    response = _to_sign_in(visit)
                else:
                    response = visit.page("problem.html", status=refused.status, problem=refused.problem)
            except BadForm as bad:
                problem = {"title": "This form was not taken", "detail": str(bad)}
                response = visit.page("problem.html", status=403, problem=problem)
            if request.cookies.get(_FORM_COOKIE) != visit.token and is_from_here(request):
                set_cookie(request, response, _FORM_COOKIE, visit.token, max_age_seconds=None)
            return self._guarded(response)

        return Route(path, endpoint, methods=list(methods))

    def _guarded(self, response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["Content-Security-Policy"] = self._policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Referrer-Policy"] = "same-origin"
        return response


@cache
def _templates() -> jinja2.Environment:
    """Compiled once a process."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("safelight.dashboard"),
        autoescape=True,
        undefined=_Absent,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(FILTERS)
    return templates


class _Absent(jinja2.StrictUndefined):
    """What an answer does not say: it may be asked whether it is there, and never be written out."""

    def __bool__(self) -> bool:
        return False


def set_cookie(request: Request, response: Response, name: str, value: str, *, max_age_seconds: int | None) -> None:
    """For this service's pages only, and never to be read by a script. None: until the browser is closed."""
    response.set_cookie(
        name,
        value,
        max_age=max_age_seconds,
        path="/",
        secure=_is_secure(request),
        httponly=True,
        samesite="strict",
    )


def _is_secure(request: Request) -> bool:
    """Also before a proxy that does not say what it was spoken to in: the browser says so, of a form."""
    return request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")


async def _fields(request: Request, *, max_bytes: int) -> FormData:
    """Whoever sends a form has not been asked for anything yet: it is bounded in size and in time. Raises BadForm."""
    body = bytearray()
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise BadForm("This is not a form of this service.")
    try:
        await read_pieces(
            request, body.extend, max_bytes=max_bytes, within_seconds=_FORM_SECONDS, cut_short="malformed-form"
        )
        return _parsed(body) if len(body) <= _READ_IN_PLACE_BYTES else await asyncio.to_thread(_parsed, body)
    except SafelightError as refusal:
        raise BadForm(refusal.detail) from None
    except ValueError:
        raise BadForm(f"A form has at most {_MOST_FIELDS} fields.") from None


def _parsed(body: bytearray) -> FormData:
    return FormData([*parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)])


def _token_of(request: Request) -> str:
    kept = request.cookies.get(_FORM_COOKIE, "")
    return kept if len(kept) == _TOKEN_LENGTH else secrets.token_urlsafe(32)


def _to_sign_in(visit: Visit) -> Response:
    """What was typed into a form is not lost: the browser can send it once more."""
    if visit.is_fragment:
        address = visit.request.headers.get("hx-current-url", "").partition("://")[2]  # a host may have our prefix, too
        return Response(status_code=401, headers={"HX-Redirect": _sign_in_address(address.partition(PREFIX)[2])})
    if visit.request.method == "POST":
        return visit.page("signed_out.html", status=401)
    return RedirectResponse(_sign_in_address(_here(visit)), 303)


def _here(visit: Visit) -> str:
    url = visit.request.url
    return url.path.removeprefix(PREFIX) + (f"?{url.query}" if url.query else "")


def _sign_in_address(page: str) -> str:
    """Of the page to sign in, which leads on to this one: at once whoever is signed in."""
    return f"{PREFIX}/sign-in" + (f"?{urlencode({'next': page})}" if page not in ("", "/") else "")
