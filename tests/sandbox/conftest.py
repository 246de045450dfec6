from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from google import genai
from google.genai import types
from job_shop import VENDORS, Shop
from openai_pictures import Client

from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.fal import FalWire
from safelight.sandbox.replicate import ReplicateWire
from safelight.sandbox.server import RunningSandbox, running_sandbox

Ask = Callable[..., Coroutine[Any, Any, types.GenerateContentResponse]]


@pytest.fixture
def bill_path(tmp_path: Path) -> Path:
    return tmp_path / "bill.jsonl"


@pytest.fixture
async def sandbox(bill_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(SandboxConfig(pictures=4), bill_path=bill_path) as running:
        yield running


@pytest.fixture
async def http(sandbox: RunningSandbox) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=sandbox.base_url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
async def ask(sandbox: RunningSandbox) -> AsyncIterator[Ask]:
    """One call by the vendor's official client, unchanged."""
    async with httpx2.AsyncClient(trust_env=False) as client:

        async def ask(
            *contents: Any,
            model: str = "gemini-3.1-flash-lite-image",
            scenario: str = "",
            key: str = "test-key",
            timeout_ms: int = 30_000,
            **config: Any,
        ) -> types.GenerateContentResponse:
            gemini = genai.Client(
                enterprise=False,
                api_key=key,
                http_options=types.HttpOptions(
                    base_url=sandbox.gemini_url(scenario), timeout=timeout_ms, httpx_async_client=client
                ),
            )
            return await gemini.aio.models.generate_content(
                model=model,
                contents=list(contents),
                config=types.GenerateContentConfig(
                    response_modalities=["IMAGE"], automatic_continuation=False, **config
                ),
            )

        yield ask


@pytest.fixture
async def client(sandbox: RunningSandbox) -> AsyncIterator[Client]:
    """The vendor's official client, told to send each request once."""
    async with httpx2.AsyncClient(trust_env=False) as http_client:

        def client(scenario: str = "", *, key: str = "sk-test", timeout: float = 30) -> openai.AsyncOpenAI:
            return openai.AsyncOpenAI(
                api_key=key,
                base_url=sandbox.url("openai", scenario),
                max_retries=0,
                timeout=timeout,
                http_client=http_client,
            )

        yield client


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def shop(vendor: str, sandbox: RunningSandbox, http: httpx2.AsyncClient) -> Shop:
    return Shop(name=vendor, sandbox=sandbox, http=http)


@pytest.fixture
async def brief_shop(vendor: str, bill_path: Path) -> AsyncIterator[Shop]:
    """One that keeps nothing."""
    wires = [ReplicateWire(retention_seconds=0), FalWire(retention_seconds=0)]
    async with (
        running_sandbox(SandboxConfig(pictures=1), bill_path=bill_path, wires=wires) as sandbox,
        httpx2.AsyncClient(base_url=sandbox.base_url, timeout=30, trust_env=False) as http,
    ):
        yield Shop(name=vendor, sandbox=sandbox, http=http)
