"""A whole service over real sockets, with a worker, and a key to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from safelight.api.server import ApiServer, ServerConfig
from safelight.settings import ProviderSettings, Settings
from safelight.wiring.api import api_of
from tests.api.doors import admin_key
from tests.engine.conftest import running
from tests.listening import listening_socket


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    url: str
    key: str


@pytest.fixture
async def service(tmp_path: Path, database: str, pool: asyncpg.Pool) -> AsyncIterator[Service]:
    settings = Settings(
        home=tmp_path,
        database_url=database,
        admission_seconds=0.2,
        dequeue_seconds=0.5,
        min_free_bytes=0,
        openai_wait_seconds=10.0,
        egress_allow="http://127.0.0.0/8:*",
        providers={"placeholder": ProviderSettings(kind="placeholder", model="placeholder-1")},
        default_provider="placeholder",
    )
    with listening_socket() as listener:
        async with api_of(settings, database) as app, running(settings):
            server = ApiServer(ServerConfig(app, stop_seconds=2))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            yield Service(url=f"http://127.0.0.1:{listener.getsockname()[1]}", key=await admin_key(pool))
            server.should_exit = True
            await serving
