from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import types

from safelight.sandbox.config import SandboxConfig
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
