"""What an attempt takes beside the vendor: the adapter's part, for each of them, and the engine's."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from benchmarks import attempts
from benchmarks.figures import Figure, at_most, percentile
from benchmarks.installation import home_below
from benchmarks.raw_calls import Pauses, RawVendor
from benchmarks.scale import Scale
from safelight.net.billable import billable_call
from safelight.net.egress import EgressGuard, parse_allowances
from safelight.providers.provider import (
    ImageProvider,
    ImageRequest,
    ImageResult,
    ProviderError,
    RemoteHandle,
    RemoteProvider,
    StillRunning,
)
from safelight.providers.registry import ProviderConfig, installed_kinds, load_kind
from safelight.testing.vendor import Reply, ScriptedVendor, SeenRequest

MODELS = {
    "gemini": "gemini-3.1-flash-lite-image",
    "openai": "gpt-image-1-mini",
    "replicate": "black-forest-labs/flux-schnell",
    "fal": "fal-ai/flux/schnell",
}
"""Of each kind of adapter the model that is bought; the sandbox makes a PNG of about a megapixel of each."""

_PROMPT = "A brass key on a dark table, oil painting, muted colours, no people, no text."
_TIMEOUT_SECONDS = 60.0
_WARM_UPS = 5
_VENDOR = re.compile(r"sandbox: (\w+) at (\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One call without its pauses, and how often it paused."""

    seconds: float
    pauses: int


async def measure(scale: Scale, folder: Path | None) -> list[Figure]:
    """The adapters one after the other, at vendors in a process of their own; then the engine."""
    figures: list[Figure] = []
    async with sandbox_process(folder) as urls:
        for kind in MODELS:
            figures += await _of_adapter(kind, urls[kind], scale)
    return figures + await attempts.measure(scale, folder)


async def _of_adapter(kind: str, url: str, scale: Scale) -> list[Figure]:
    provider = provider_of(kind, url)
    raw = RawVendor(kind, await request_of(kind, path=httpx2.URL(url).path), origin=_origin(url))
    try:
        await differences(provider, raw, kind=kind, pairs=_WARM_UPS)
        runs = [await differences(provider, raw, kind=kind, pairs=scale.pairs) for _ in range(scale.runs)]
    finally:
        await raw.aclose()
        await provider.aclose()
    p50s, p99s = (tuple(1000 * percentile(run, percent) for run in runs) for percent in (50, 99))
    what = f"adapter `{kind}` over the raw call, p50"
    return [
        Figure(name=f"overhead_{kind}_p50", what=what, unit="ms", runs=p50s, goal=at_most(5)),
        Figure(name=f"overhead_{kind}_p99", what="· p99", unit="ms", runs=p99s),
    ]


async def differences(provider: ImageProvider, raw: RawVendor, *, kind: str, pairs: int) -> list[float]:
    """Seconds that the adapter took longer than the raw call beside it, of so many pairs; each goes first in turn.

    A pair in which one had to ask after its job more often than the other says nothing about the adapter, and another
    one takes its place.
    """
    found: list[float] = []
    adapter_is_first = False
    while len(found) < pairs:
        adapter_is_first = not adapter_is_first
        if adapter_is_first:
            ours = await _timed(lambda pauses: bought(provider, kind, pauses))
            bare = await _timed(raw.buy)
        else:
            bare = await _timed(raw.buy)
            ours = await _timed(lambda pauses: bought(provider, kind, pauses))
        if ours.pauses == bare.pauses:
            found.append(ours.seconds - bare.seconds)
    return found


async def _timed(call: Callable[[Pauses], Awaitable[object]]) -> Taken:
    pauses = Pauses()
    began = time.perf_counter()
    await call(pauses)
    return Taken(seconds=time.perf_counter() - began - pauses.seconds, pauses=pauses.count)


async def bought(provider: ImageProvider, kind: str, pauses: Pauses) -> bytes:
    """The picture, bought as the engine does it: one billable call, and questions until a job has ended."""
    request = _request(kind)
    with billable_call(timeout_seconds=_TIMEOUT_SECONDS):
        answer = await provider.submit(request)
    if isinstance(answer, RemoteHandle):
        assert isinstance(provider, RemoteProvider)
        handle, answer = answer, StillRunning()
        while isinstance(answer, StillRunning):
            await pauses.rest()
            answer = await provider.poll(handle, request)
    if not isinstance(answer, ImageResult):
        raise RuntimeError(f"the sandbox's {kind} refused: {answer.message}")
    return answer.data


def provider_of(kind: str, base_url: str) -> ImageProvider:
    """As a worker has it, with pictures on loopback allowed."""
    fetch = EgressGuard(parse_allowances("http://127.0.0.0/8:*")).fetch
    config = ProviderConfig(api_key="bench", base_url=base_url, fetch=fetch)
    return load_kind(kind, installed_kinds()).from_config(kind, config)


async def request_of(kind: str, *, path: str) -> SeenRequest:
    """What the adapter sends to a vendor whose base URL ends in `path`: seen by one that takes it and fails."""
    async with ScriptedVendor(lambda _: Reply.json({}, status=500)) as vendor:
        provider = provider_of(kind, vendor.url + path)
        try:
            with billable_call(timeout_seconds=_TIMEOUT_SECONDS):
                await provider.submit(_request(kind))
        except ProviderError:
            return vendor.requests[0]
        finally:
            await provider.aclose()
    raise RuntimeError(f"`{kind}` took an HTTP 500 for an answer")


@asynccontextmanager
async def sandbox_process(folder: Path | None) -> AsyncIterator[Mapping[str, str]]:
    """The base URL of each vendor, by its kind: `safelight sandbox`, which answers at once."""
    with home_below(folder) as home:
        options = ("--port", "0", "--latency", "0", "--bill", str(home / "bill.jsonl"))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "safelight", "sandbox", *options),
            cwd=home,  # where no safelight.toml of the developer lies
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            yield await _vendors(process)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _vendors(process: asyncio.subprocess.Process) -> Mapping[str, str]:
    """As it prints them. Raises RuntimeError when it ends before."""
    assert process.stdout is not None
    urls: dict[str, str] = {}
    while not MODELS.keys() <= urls.keys():
        line = (await process.stdout.readline()).decode()
        if not line:
            raise RuntimeError(f"the sandbox ended, with {await process.wait()}")
        if vendor := _VENDOR.match(line):
            urls[vendor[1]] = vendor[2]
    return urls


def _request(kind: str) -> ImageRequest:
    return ImageRequest(model=MODELS[kind], prompt=_PROMPT, attempt_key="att_bench", timeout_seconds=_TIMEOUT_SECONDS)


def _origin(url: str) -> str:
    parsed = httpx2.URL(url)
    return f"{parsed.scheme}://{parsed.host}:{parsed.port}"
