"""Whose page a browser sends a request from."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.requests import Request

_OURS = frozenset({"same-origin", "none"})
"""`none`: no page at all, but somebody at the browser itself."""


def is_from_here(request: Request) -> bool:
    """Whether no page of somebody else's has sent it, as the browser says, which a page cannot make it say otherwise.
    What says nothing of a page is no browser, or one that leaves it out of a request to its own page's address."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in _OURS
    origin = request.headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # it is no address
        return False
