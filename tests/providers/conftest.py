from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from configs import config
from gemini_wire import KEY
from loopback_vendor import Vendor
from openai_wire import KEY as OPENAI_KEY

from safelight.providers.gemini import GeminiProvider
from safelight.providers.openai import OpenAIProvider


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    vendor = Vendor()
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    vendor.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield vendor
    await asyncio.wait_for(asyncio.gather(*vendor.serving), 5)


@pytest.fixture
async def gemini(vendor: Vendor) -> AsyncIterator[GeminiProvider]:
    provider = GeminiProvider.from_config("gemini", config(api_key=KEY, base_url=vendor.url))
    yield provider
    await provider.aclose()


@pytest.fixture
async def openai(vendor: Vendor) -> AsyncIterator[OpenAIProvider]:
    provider = OpenAIProvider.from_config("openai", config(api_key=OPENAI_KEY, base_url=f"{vendor.url}/v1"))
    yield provider
    await provider.aclose()
