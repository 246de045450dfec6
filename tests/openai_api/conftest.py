"""The front door as an OpenAI client sees it: a real server, a worker, and the sandbox as the vendor behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import openai
import pytest
from pydantic import SecretStr

from safelight.api.server import ApiServer, ServerConfig
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox
from safelight.settings import ProviderSettings, Settings
from safelight.wiring.api import api_of
from tests.engine.conftest import running
from tests.listening import listening_socket

OPENAI = "gpt-image-1-mini"
GEMINI = "gemini-3.1-flash-lite-image"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=tmp_path / "bill.jsonl") as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, database: str, sandbox: RunningSandbox) -> Settings:
    def at(kind: str, model: str) -> ProviderSettings:
        return ProviderSettings(kind=kind, base_url=sandbox.url(kind), api_key=SecretStr("test-key"), model=model)

    return Settings(
        home=tmp_path,
        database_url=database,
        lease_seconds=5.0,
        grace_seconds=0.3,
        sweep_seconds=0.2,
        admission_seconds=0.2,
        dequeue_seconds=0.5,
        retry_unit_seconds=0.02,
        min_free_bytes=0,
        egress_allow="http://127.0.0.0/8:*",
        openai_aliases={"our-usual": f"openai/{OPENAI}"},
        providers={"openai": at("openai", OPENAI), "gemini": at("gemini", GEMINI)},
        default_provider="openai",
    )


@asynccontextmanager
async def front_door(settings: Settings) -> AsyncIterator[str]:
    """The address of an API that listens for as long as the block lasts."""
    assert settings.database_url is not None
    with listening_socket() as listener:
        async with api_of(settings, settings.database_url) as app:
            server = ApiServer(ServerConfig(app, stop_seconds=2))
            task = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                await task


@dataclass(kw_only=True)
class World:
    """`address` is that of the API. No worker runs before one is started."""

    address: str
    settings: Settings
    sandbox: RunningSandbox
    pool: asyncpg.Pool
    clients: list[openai.AsyncOpenAI] = field(default_factory=list)

    def client(self, **options: Any) -> openai.AsyncOpenAI:
        """As an application would make it: only the address and the key are ours."""
        client = openai.AsyncOpenAI(**{"base_url": f"{self.address}/openai/v1", "api_key": "any", **options})
        self.clients.append(client)
        return client

    def working(self) -> AbstractAsyncContextManager[Any]:
        return running(self.settings)

    @property
    def bought(self) -> int:
        """Calls that the vendor has charged for."""
        return self.sandbox.vendor.bill.charged_calls_of(None)

    async def in_flight(self, calls: int) -> None:
        """Returns when the vendor holds that many calls."""
        vendor = self.sandbox.vendor
        assert await vendor.wait_until(lambda: vendor.in_flight == calls, timeout_seconds=20), vendor.in_flight


@pytest.fixture
async def world(settings: Settings, sandbox: RunningSandbox, pool: asyncpg.Pool) -> AsyncIterator[World]:
    async with front_door(settings) as address:
        world = World(address=address, settings=settings, sandbox=sandbox, pool=pool)
        yield world
        for client in world.clients:
            await client.close()
