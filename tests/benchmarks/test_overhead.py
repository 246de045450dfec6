"""What an adapter is compared with: the same call without it."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx2
import pytest

from benchmarks.overhead import MODELS, bought, differences, provider_of, request_of
from benchmarks.raw_calls import Pauses, RawVendor
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import running_sandbox
from safelight.testing.vendor import Reply, ScriptedVendor


@pytest.mark.parametrize("kind", MODELS)
async def test_the_raw_request_is_the_adapters_own(kind: str) -> None:
    asked = await request_of(kind, path="/some/path")
    async with ScriptedVendor(lambda _: Reply(status=500)) as vendor:
        raw = RawVendor(kind, asked, origin=vendor.url)
        with pytest.raises(httpx2.HTTPStatusError):
            await raw.buy(Pauses())
        await raw.aclose()

    sent = vendor.requests[0]
    assert sent.target.startswith("/some/path/")
    assert sent.asked == asked.asked
    assert {**sent.headers, "host": ""} == {**asked.headers, "host": ""}


@pytest.mark.parametrize("kind", MODELS)
async def test_both_buy_the_same_picture(kind: str, tmp_path: Path) -> None:
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=tmp_path / "bill.jsonl") as sandbox:
        url = httpx2.URL(sandbox.url(kind))
        provider = provider_of(kind, str(url))
        raw = RawVendor(kind, await request_of(kind, path=url.path), origin=sandbox.base_url)
        picture, answer = await bought(provider, kind, Pauses()), await raw.buy(Pauses())
        calls = len(sandbox.vendor.calls)
        compared = await differences(provider, raw, kind=kind, pairs=2)
        await raw.aclose()
        await provider.aclose()

    assert picture.startswith(b"\x89PNG")
    assert answer == picture or base64.b64encode(picture) in answer
    assert len(compared) == 2
    assert len(sandbox.vendor.calls) - calls >= 4, "a raw call for each of the adapter's"
