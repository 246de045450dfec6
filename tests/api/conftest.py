"""The API on a real socket, over a real database; workers only where a test starts one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import httpx2
import pytest

from safelight.api.app import ApiDependencies, create_app
from safelight.api.edge.openapi import Application
from safelight.api.server import ApiServer, ServerConfig
from safelight.db.pool import close_pool, open_pool
from safelight.delivery.webhooks.vault import Vault, new_key
from safelight.domain.money import Cost, CostBasis
from safelight.domain.recipe import load_recipes
from safelight.engine.orders.catalog import Catalog, ConfiguredProvider
from safelight.engine.queue.admission import Admission
from safelight.engine.timing import Timing
from safelight.imaging.pool import RenderPool
from safelight.net.egress import EgressGuard
from safelight.providers.placeholder import PlaceholderProvider
from safelight.providers.provider import (
    Capabilities,
    ImageProvider,
    ImageRequest,
    ImageResult,
    UnknownModel,
)
from safelight.storage.local import LocalBlobStore
from tests.api.names import resolve_scripted
from tests.listening import listening_socket


class PickyProvider(ImageProvider):
    """Models that can do little, one of them retired. 0.04 dollars a picture; `unpriced` has no price."""

    def capabilities(self, model: str) -> Capabilities:
        if model not in ("picky-1", "unpriced", "picky-0"):
            raise UnknownModel(model)
        return Capabilities(
            aspect_ratios=frozenset({"1:1", "3:4"}),
            sizes=None,
            seed=False,
            negative_prompt=False,
            timeout_seconds=90.0,
            prompt_max_chars=100,
            retired_on="2026-10-02" if model == "picky-0" else None,
        )

    def estimate(self, request: ImageRequest) -> Cost:
        if request.model == "unpriced":
            return Cost(None, CostBasis.UNKNOWN)
        return Cost(40_000, CostBasis.TABLE, "test")

    async def submit(self, request: ImageRequest) -> ImageResult:
        raise AssertionError("no test of the API buys from this provider")

    async def aclose(self) -> None:
        pass


def catalog(*, default: str | None = "placeholder") -> Catalog:
    return Catalog(
        providers={
            "placeholder": ConfiguredProvider(
                provider=PlaceholderProvider(), kind="placeholder", model="placeholder-1", max_concurrency=8
            ),
            "picky": ConfiguredProvider(provider=PickyProvider(), kind="picky", model=None, max_concurrency=2),
        },
        default=default,
    )


class _Server(ApiServer):
    """Says when it listens, leaves at once when told to, and leaves the signals to pytest."""

    def __init__(self, config: ServerConfig) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._leaving.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        self._closing.set()
        for each in (*self.servers, *(sockets or ())):
            each.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    def capture_signals(self) -> Any:
        return _Nothing()


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@asynccontextmanager
async def serving(deps: ApiDependencies, **limits: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the API, which listens on a free port for as long as the block lasts."""
    async with listening(create_app(deps), **limits) as url, httpx2.AsyncClient(base_url=url, timeout=30) as client:
        yield client


@asynccontextmanager
async def listening(
    app: Application,
    *,
    head_seconds: float = 30.0,
    stall_seconds: float = 30.0,
    send_buffer_bytes: int | None = None,
) -> AsyncIterator[str]:
    """The address of the application, which answers for as long as the block lasts."""
    listener = listening_socket()
    if send_buffer_bytes is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)
    server = _Server(ServerConfig(app, head_seconds=head_seconds, stop_seconds=2, stall_seconds=stall_seconds))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with asyncio.timeout(10):
            await server.listening.wait()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.leave()
        await task


@pytest.fixture
async def queue(database: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database, min_size=1, max_size=2, application_name="tests queue", jsonb_as_values=False)
    yield pool
    await close_pool(pool)


@pytest.fixture
async def renderer() -> AsyncIterator[RenderPool]:
    renderer = RenderPool()
    yield renderer
    await renderer.aclose()


@pytest.fixture
def deps(tmp_path: Path, pool: asyncpg.Pool, queue: asyncpg.Pool, renderer: RenderPool) -> ApiDependencies:
    known = catalog()
    return ApiDependencies(
        pool=pool,
        admission=Admission(queue, max_concurrency=known.max_concurrency(), timing=Timing()),
        catalog=known,
        recipes=load_recipes(),
        blobs=LocalBlobStore(tmp_path / "blobs"),
        run_limit_seconds=86_400.0,
        public_url=None,
        ready=partial(pool.fetchval, "SELECT 1"),
        vault=Vault([new_key()]),
        check_url=EgressGuard(resolve=resolve_scripted).check,
        renderer=renderer,
        may_run_open=True,
    )


@pytest.fixture
async def client(deps: ApiDependencies) -> AsyncIterator[httpx2.AsyncClient]:
    async with serving(deps) as client:
        yield client


class Serve(Protocol):
    def __call__(self, **changed: Any) -> AbstractAsyncContextManager[httpx2.AsyncClient]: ...


@pytest.fixture
def serve_with(deps: ApiDependencies) -> Serve:
    """The API with some of its dependencies changed."""
    return lambda **changed: serving(replace(deps, **changed))


def job(**fields: Any) -> dict[str, Any]:
    """A request for one image, with other fields beside or instead."""
    return {"images": [image()], **fields}


def image(image_id: str = "one", **fields: Any) -> dict[str, Any]:
    return {"id": image_id, "prompt": "A brass key, bent and oily", **fields}


async def submitted(client: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    """The job as it was accepted."""
    response = await client.post("/v1/jobs", json=job(**fields))
    assert response.status_code == 202, response.text
    return response.json()
