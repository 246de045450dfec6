"""What the tests of remote jobs need: a vendor with several addresses, one elsewhere, and pictures fetched for real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from loopback_vendor import SeenRequest, Vendor

from safelight.net.billable import billable_call
from safelight.net.egress import EgressGuard, parse_allowances
from safelight.providers.provider import (
    ImageRequest,
    PollFailed,
    ProviderError,
    RemoteHandle,
    RemoteProvider,
)
from safelight.providers.registry import ProviderConfig

KEY = "r8_Canary-key:0123456789"
PROMPT = "A brass key, bent and oily, in the library of Ada Vane"
PNG = b"\x89PNG\r\n\x1a\n-not-decoded-here"


@dataclass(slots=True)
class JobVendor(Vendor):
    """Answers by method and path; an address that no test has named is a 599."""

    replies: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def on(
        self, method: str, path: str, status: int, body: object, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """A body that is not bytes is sent as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} As told", f"content-length: {len(content)}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.replies[method, path] = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
        self.answer = self._by_address

    async def _by_address(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = self.requests[-1]
        no_such = b"HTTP/1.1 599 Not named\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        writer.write(self.replies.get((asked.method, asked.path), no_such))
        await writer.drain()

    @property
    def seen_addresses(self) -> list[str]:
        return [f"{each.method} {each.path}" for each in self.requests]

    def posts(self, path: str) -> list[SeenRequest]:
        """The requests that cost money, when `path` is where jobs are bought."""
        return [each for each in self.requests if each.method == "POST" and each.path == path]


@asynccontextmanager
async def job_vendor() -> AsyncIterator[JobVendor]:
    vendor = JobVendor()
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    vendor.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield vendor
    await asyncio.wait_for(asyncio.gather(*vendor.serving), 5)


def config(base_url: str | None = None, *, models: Mapping[str, Mapping[str, Any]] | None = None) -> ProviderConfig:
    """Pictures are fetched through the egress guard, which lets this machine's own servers through."""
    guard = EgressGuard(parse_allowances("http://127.0.0.1:*"))
    return ProviderConfig(api_key=KEY, base_url=base_url, models=models or {}, fetch=guard.fetch)


def image_request(model: str, **changes: Any) -> ImageRequest:
    asked: dict[str, Any] = {"model": model, "prompt": PROMPT, "attempt_key": "att-1", "timeout_seconds": 60.0}
    return ImageRequest(**asked | changes)


async def submitted(provider: RemoteProvider, asked: ImageRequest) -> RemoteHandle:
    """The handle, as it comes back from a database."""
    with billable_call(timeout_seconds=60):
        handle = await provider.submit(asked)
    assert isinstance(handle, RemoteHandle)
    return RemoteHandle.from_json(json.loads(json.dumps(handle.as_json())))


async def submit_failure(provider: RemoteProvider, asked: ImageRequest) -> ProviderError:
    with billable_call(timeout_seconds=60), pytest.raises(ProviderError) as caught:
        await provider.submit(asked)
    return caught.value


async def job_failure(provider: RemoteProvider, handle: RemoteHandle, asked: ImageRequest) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.poll(handle, asked)
    return caught.value


async def poll_failure(provider: RemoteProvider, handle: RemoteHandle, asked: ImageRequest) -> PollFailed:
    with pytest.raises(PollFailed) as caught:
        await provider.poll(handle, asked)
    return caught.value
