"""A whole engine in the test's own process, on a database and a home of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr

from safelight.db.pool import close_pool, open_pool
from safelight.engine.queue.admission import Admission
from safelight.engine.queue.worker import Worker
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox
from safelight.settings import ProviderSettings, Settings
from safelight.wiring.parts import admission_of, catalog_of
from safelight.wiring.worker import worker_of


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=tmp_path / "bill.jsonl") as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, database: str, sandbox: RunningSandbox) -> Settings:
    return Settings(
        home=tmp_path,
        database_url=database,
        lease_seconds=1.0,
        grace_seconds=0.3,
        sweep_seconds=0.2,
        admission_seconds=0.2,
        dequeue_seconds=0.5,
        retry_unit_seconds=0.02,
        slots=8,
        providers={
            "placeholder": ProviderSettings(kind="placeholder", max_concurrency=8),
            "gemini": ProviderSettings(
                kind="gemini", base_url=sandbox.gemini_url(), api_key=SecretStr("test-key"), max_concurrency=8
            ),
        },
    )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Worker]:
    """A worker at work; drained at the end."""
    assert settings.database_url is not None
    async with worker_of(settings, settings.database_url) as worker:
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.drain()
            async with asyncio.timeout(20):
                await task


@pytest.fixture
def start_worker(settings: Settings) -> Callable[[], AbstractAsyncContextManager[Worker]]:
    return lambda: running(settings)


@pytest.fixture
async def queue(database: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database, min_size=1, max_size=2, application_name="tests queue", jsonb_as_values=False)
    yield pool
    await close_pool(pool)


@pytest.fixture
def admission(settings: Settings, queue: asyncpg.Pool) -> Admission:
    return admission_of(settings, queue, catalog_of(settings))
