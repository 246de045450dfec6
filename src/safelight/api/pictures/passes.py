"""Links that stand in for a key: what a request for a picture may show instead of one.

A key that is sent counts, and nothing else; a link counts where no key is. It is checked by the route, which knows
whose job it is about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.openapi.models import APIKey, APIKeyIn
from fastapi.openapi.models import SecurityBase as SecurityModel
from fastapi.security.base import SecurityBase

from safelight.api.access import KEY_SCHEME, NO_KEY, caller_in, reach_of
from safelight.delivery.links import LINK
from safelight.domain.access import Caller, KeyScope
from safelight.domain.errors import Forbidden, InvalidSignature, Unauthenticated
from safelight.domain.signing import Claim, Signer, is_link

SIGNATURE = "signature"
_SIGNED = frozenset({"expires", "key", SIGNATURE})
_OPTIONS = frozenset({"download", "output"})
"""What may be asked for beside: it says how a picture comes, and not which."""
_PATHS = re.compile(r"/v1/jobs/[^/]+/(?:archive|images/[^/]+(?:/[^/]+)?)")
_KEPT_SECONDS = 31_536_000
_LINK_SCHEME = APIKey.model_validate(
    {
        "in": APIKeyIn.query,
        "name": SIGNATURE,
        "description": "Part of the links that a job's answer shows. It is good for one address, for some time; a "
        f"lasting link has `{LINK}` instead.",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """What was found good. `kept_seconds`: for how long the answer may be kept; `is_for_all`: by anybody."""

    kept_seconds: int = _KEPT_SECONDS
    is_for_all: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What a link shows: a signed claim, or the token of a lasting one."""

    claim: Claim | None
    token: str | None

    def leave(self, path: str, row: Mapping[str, Any] | None, signer: Signer) -> Leave:
        """For the path of a job whose `account` and `link_key` the row has. Raises InvalidSignature, also where there
        is no such row."""
        if row is None:
            raise InvalidSignature
        if self.claim is not None and signer.is_good(self.claim, path, account=row["account"]):
            return Leave(kept_seconds=signer.seconds_left(self.claim))
        if self.token is not None and row["link_key"] is not None and is_link(self.token, row["link_key"], path):
            return Leave(is_for_all=True)
        raise InvalidSignature


def bears_link(request: Request) -> bool:
    """Whether a route that knows of links is asked, with one and without a key. Nothing else may be let in for it."""
    return (
        may_have_link(request)
        and "authorization" not in request.headers
        and not {SIGNATURE, LINK}.isdisjoint(request.query_params.keys())
    )


def may_have_link(request: Request) -> bool:
    """Whether it asks for what links are made for: a picture, or a job's archive."""
    return request.method in ("GET", "HEAD") and _PATHS.fullmatch(request.scope["path"]) is not None


def reach_with(viewer: Caller | Pass) -> str | None:
    """The account whose jobs are looked among; None for all: of an admin, and of a link until it has been checked."""
    return reach_of(viewer) if isinstance(viewer, Caller) else None


def leave_of(
    viewer: Caller | Pass, request: Request, path: str, row: Mapping[str, Any] | None, signer: Signer
) -> Leave:
    """Raises InvalidSignature. What is shown for a key is the caller's own to keep, unless its address is a lasting
    link all the same: whoever has that needs no key."""
    if isinstance(viewer, Pass):
        return viewer.leave(path, row, signer)
    token, link_key = request.query_params.get(LINK), row["link_key"] if row is not None else None
    return Leave(is_for_all=token is not None and link_key is not None and is_link(token, link_key, path))


class _Way(SecurityBase):
    """One of the ways in, for the document: who came is found out by `_viewer`."""

    def __init__(self, name: str, model: SecurityModel) -> None:
        self.model = model
        self.scheme_name = name

    async def __call__(self) -> None:
        return None


_BY_KEY = Security(_Way("key", KEY_SCHEME), scopes=[KeyScope.READ.value])
_BY_LINK = Security(_Way("signature", _LINK_SCHEME))


async def _viewer(request: Request, _key: None = _BY_KEY, _link: None = _BY_LINK) -> Caller | Pass:
    """Whoever calls with a key that may read, or the link that was followed. Raises Unauthenticated, Forbidden and
    InvalidSignature."""
    found = caller_in(request.scope)
    if found is not None:
        if not found.may(KeyScope.READ):
            raise Forbidden(f"This needs a key with the scope `{KeyScope.READ}`.")
        return found
    if not bears_link(request):
        raise Unauthenticated(NO_KEY)
    return _pass_of(request)


def _pass_of(request: Request) -> Pass:
    sent = [(name, value) for name, value in request.query_params.multi_items() if name not in _OPTIONS]
    parts = dict(sent)
    if len(parts) == len(sent):
        if parts.keys() == _SIGNED:
            return Pass(
                claim=Claim(expires_at=parts["expires"], key_id=parts["key"], signature=parts[SIGNATURE]), token=None
            )
        if parts.keys() == {LINK}:
            return Pass(claim=None, token=parts[LINK])
    raise InvalidSignature


Views = Annotated[Caller | Pass, Depends(_viewer)]
