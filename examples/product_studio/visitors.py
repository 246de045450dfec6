"""Who is asking: a token in a header for programs, the same in a cookie for the page. Good enough for an example: there
are no passwords, no sessions that end, and nobody is asked for money."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from examples.product_studio.problems import NotThere, Problem
from examples.product_studio.store import Generation, User
from examples.product_studio.studio import Studio

COOKIE = "studio_token"
_SAFE = frozenset({"GET", "HEAD"})


def studio_of(request: Request) -> Studio:
    return request.app.state.studio


async def who(request: Request) -> User | None:
    """Whoever has signed in, if somebody has. Raises Problem for a change that another site's page asks for."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token:
        return await studio_of(request).accounts.signed_in(token)
    require_own_page(request)
    token = request.cookies.get(COOKIE)
    return await studio_of(request).accounts.signed_in(token) if token else None


async def visitor(request: Request) -> User:
    user = await who(request)
    if user is None:
        raise Problem(401, "unauthenticated", "Sign in first: `Authorization: Bearer studio_…`.")
    return user


def require_own_page(request: Request) -> None:
    """A browser says where a change comes from; what is no browser says nothing, and has no cookie to lose."""
    origin = request.headers.get("origin")
    if request.method not in _SAFE and origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise Problem(403, "foreign-page", "Another site's page may not do this.")


async def own_generation(request: Request, generation_id: str, user: Annotated[User, Depends(visitor)]) -> Generation:
    """One of the visitor's own orders. Another's is not there."""
    found = await studio_of(request).store.generation(generation_id)
    if found is None or found.user_id != user.id:
        raise NotThere("order")
    return found


TheStudio = Annotated[Studio, Depends(studio_of)]
Visitor = Annotated[User, Depends(visitor)]
OwnGeneration = Annotated[Generation, Depends(own_generation)]
