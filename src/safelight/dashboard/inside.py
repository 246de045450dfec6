"""The public API, asked from within the process on behalf of somebody who has been found out already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from safelight.api.access import set_caller
from safelight.domain.access import Caller

_ORIGIN = "http://localhost"
"""A name that every installation answers to."""


class Refused(Exception):
    """What the API answered instead: a problem, with its `title`, `detail`, and `errors` by JSON pointer."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(status, problem.get("type"))
        self.status = status
        self.problem = problem


class Inside:
    """`app` is the whole application: what is asked here passes the same checks as what comes from outside."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def ask(
        self,
        method: str,
        path: str,
        *,
        caller: Caller | None,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """The answer, read to its end: nothing for streams. Query parameters that are None are left out. Raises Refused
        for 400 and above."""
        request = httpx2.Request(
            method,
            f"{_ORIGIN}{path}",
            params={name: value for name, value in (query or {}).items() if value is not None},
            headers={"Accept": "application/json", **(headers or {})},
            json=body,
        )
        transport = httpx2.ASGITransport(app=self._app if caller is None else _on_behalf(self._app, caller))
        response = await transport.handle_async_request(request)
        await response.aread()
        if response.status_code >= 400:
            raise Refused(response.status_code, _problem_in(response))
        return response


def _on_behalf(app: ASGIApp, caller: Caller) -> ASGIApp:
    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        set_caller(scope, caller)
        await app(scope, receive, send)

    return called


def _problem_in(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        found = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        found = None
    return found if isinstance(found, dict) else {"title": "It did not work", "detail": response.text[:500]}
