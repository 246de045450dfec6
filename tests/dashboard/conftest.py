"""The dashboard on a real socket beside its API, and somebody who looks at it as a browser without JavaScript does."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies, create_app
from safelight.api.edge.session import Sessions
from safelight.dashboard.app import add_dashboard
from tests.api.conftest import deps, listening, queue, renderer

__all__ = ["deps", "queue", "renderer"]


class Browser:
    """Keeps cookies, follows redirects, and sends a form with the token of the page that it stands on."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def look(self, path: str, *, status: int = 200, **query: Any) -> str:
        response = await self.client.get(f"/dashboard{path}", params=query or None)
        assert response.status_code == status, response.text
        return response.text

    async def send(self, path: str, *, on: str, status: int = 200, **fields: Any) -> httpx2.Response:
        """The form at `path`, of the page `on`."""
        token = re.search(r'name="form_token" value="([^"]+)"', await self.look(on))
        assert token, "the page has no form"
        data = {"form_token": token[1], **fields}
        response = await self.client.post(f"/dashboard{path}", data=data, headers={"Sec-Fetch-Site": "same-origin"})
        assert response.status_code == status, response.text
        return response


@asynccontextmanager
async def looking(deps: ApiDependencies, *, headers: Mapping[str, str] | None = None) -> AsyncIterator[Browser]:
    app = create_app(deps)
    add_dashboard(app, sessions=Sessions(deps.vault, clock=deps.clock), public_url=deps.public_url)
    async with (
        listening(app) as url,
        httpx2.AsyncClient(base_url=url, timeout=30, follow_redirects=True, headers=headers) as client,
    ):
        yield Browser(client)


@pytest.fixture
async def browser(deps: ApiDependencies, pool: asyncpg.Pool) -> AsyncIterator[Browser]:
    """Of somebody on this machine, whose service runs open."""
    async with looking(deps) as browser:
        yield browser
