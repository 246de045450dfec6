"""Cookies that are cheap to read."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

_NAME = b"cookie"
_ESCAPE = b"\\"


class Cookies:
    """Leaves out each cookie that has something escaped in it, which none of ours has.

    What the standard library takes to read one grows, before Python 3.11.10 and 3.12.5, with the square of its length:
    some ten seconds for the longest that comes in (CVE-2024-7592), in which the process does nothing else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(name == _NAME and _ESCAPE in value for name, value in scope["headers"]):
            headers = [(name, _plain(value) if name == _NAME else value) for name, value in scope["headers"]]
            scope["headers"] = headers
        await self._app(scope, receive, send)


def _plain(value: bytes) -> bytes:
    return b";".join(each for each in value.split(b";") if _ESCAPE not in each)
