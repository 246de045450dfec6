"""Where the conformance suite plays its scenes: a provider of the author's, its vendor, and another host nearby."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from safelight.domain.errors import Billed
from safelight.net.billable import BillableCall, CallNotSent, billable_call
from safelight.net.egress import EgressGuard, parse_allowances
from safelight.providers.provider import (
    ImageProvider,
    ImageRequest,
    ImageResult,
    ProviderError,
    Refusal,
    RemoteHandle,
    RemoteProvider,
    StillRunning,
)
from safelight.providers.registry import ProviderConfig
from safelight.testing.vendor import Reply, ScriptedVendor, SeenRequest

_T = TypeVar("_T")
_MOST_POLLS = 20
_SIDE_PX = 64


class Case(StrEnum):
    """What the author's vendor is asked to play. Broken connections and senseless answers the suite plays itself."""

    SUCCESS = "success"
    """The picture is made. Of a remote job: accepted, and ended well when it is first asked after."""
    REFUSAL = "refusal"
    """The vendor's safety policy says no."""
    RATE_LIMIT = "rate limit"
    """Too many requests."""
    BAD_KEY = "bad key"
    """The key is not valid, or not any more."""
    SERVER_ERROR = "server error"
    """The vendor failed by its own fault."""
    RUNNING = "running"
    """Remote jobs only: accepted, and not ended whenever it is asked after. It can be canceled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a reply is to be made of.

    `words` belong where the vendor puts its own message in a refusal or an error. `picture` is a whole PNG, and
    `picture_url` leads to it on another host, for vendors that answer with an address.
    """

    case: Case
    words: str
    picture: bytes = field(repr=False)
    picture_url: str


@dataclass(slots=True, kw_only=True)
class Stage:
    """A scene being played. `case`, `words`, `always` and `file` may be changed between two requests.

    `always` is answered to every request in place of the author's reply, `file` to those for the picture at
    `elsewhere`.
    """

    vendor: ScriptedVendor
    elsewhere: ScriptedVendor
    provider: ImageProvider
    patience_seconds: float
    case: Case = Case.SUCCESS
    words: str = "the vendor's own words"
    always: Reply | None = None
    file: Reply | None = None
    call: BillableCall | None = None
    """The latest call to `submit`."""

    @property
    def remote(self) -> RemoteProvider:
        assert isinstance(self.provider, RemoteProvider)
        return self.provider

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when the condition on the vendor holds. Raises TimeoutError."""
        await self.vendor.wait_until(condition, timeout_seconds=self.patience_seconds)

    async def submit(
        self, request: ImageRequest, *, within_seconds: float | None = None
    ) -> ImageResult | Refusal | RemoteHandle:
        """As the engine does it: inside of a billable call, which is over after `patience_seconds` at the latest."""
        seconds = self.patience_seconds if within_seconds is None else within_seconds
        async with asyncio.timeout(self.patience_seconds):
            with billable_call(timeout_seconds=seconds) as call:
                self.call = call
                return await self.provider.submit(request)

    async def bought(self, request: ImageRequest) -> ImageResult | Refusal:
        """What the call comes to in the end: a remote job is asked after until it has ended."""
        answer = await self.submit(request)
        return await self.polled(answer, request) if isinstance(answer, RemoteHandle) else answer

    async def polled(self, handle: RemoteHandle, request: ImageRequest) -> ImageResult | Refusal:
        async with asyncio.timeout(self.patience_seconds):
            for _ in range(_MOST_POLLS):
                answer = await self.remote.poll(handle, request)
                if not isinstance(answer, StillRunning):
                    return answer
        raise AssertionError(f"the job is still running after {_MOST_POLLS} polls")

    async def failed(self, request: ImageRequest) -> ProviderError:
        """The ProviderError that the call raises; anything else fails the test."""
        try:
            answer = await self.submit(request)
        except ProviderError as error:
            return error
        except TimeoutError:
            raise
        except Exception as error:
            raise AssertionError(f"only ProviderError may leave `submit` here; it raised {_named(error)}") from error
        raise AssertionError(f"`submit` is to raise a ProviderError here; it returned {type(answer).__name__}")

    async def refused_unsent(self, request: ImageRequest) -> ProviderError:
        """The failure of a call that must not touch the network."""
        error = await self.failed(request)
        assert self.vendor.connections == 0, "the provider contacted the vendor before it refused"
        return error


class Harness:
    """What an author says about a provider. `ProviderConformance` explains each of these."""

    model: ClassVar[str]
    options: ClassVar[Mapping[str, Any]] = {}
    retired_model: ClassVar[str | None] = None
    unknown_model: ClassVar[str] = "nobody/knows-this-model"
    key: ClassVar[str] = "canary-key-0123456789abcdef"
    prompt: ClassVar[str] = "A brass key, bent and oily, in the library of Ada Vane"
    retry_after_seconds: ClassVar[float | None] = None
    can_refuse: ClassVar[bool] = True
    is_free: ClassVar[bool] = False
    is_local: ClassVar[bool] = False
    patience_seconds: ClassVar[float] = 10.0

    def build(self, config: ProviderConfig) -> ImageProvider:
        """The provider, as its kind's `from_config` makes it. `config` has a key, a base URL and a real `fetch`."""
        raise NotImplementedError("say how your provider is built")

    def reply(self, scene: Scene, request: SeenRequest, /) -> Reply:
        """What the vendor answers to this request in this scene."""
        raise NotImplementedError("say what your vendor answers")

    def request(self, **changes: Any) -> ImageRequest:
        """For one picture by the sample model, without options unless `changes` has them."""
        asked: dict[str, Any] = {
            "model": self.model,
            "prompt": self.prompt,
            "attempt_key": "att_conformance",
            "timeout_seconds": 30.0,
        }
        return ImageRequest(**asked | changes)

    @asynccontextmanager
    async def stage(self, case: Case = Case.SUCCESS, **set_up: Any) -> AsyncIterator[Stage]:
        """A provider of its own against vendors of its own; all are closed at the end."""
        picture = png()

        def answer(request: SeenRequest) -> Reply:
            scene = Scene(
                case=stage.case, words=stage.words, picture=picture, picture_url=f"{elsewhere.url}/picture.png"
            )
            return stage.always or self.reply(scene, request)

        def send_file(_: SeenRequest) -> Reply:
            return stage.file or Reply(body=picture, media_type="image/png")

        async with ScriptedVendor(answer) as vendor, ScriptedVendor(send_file) as elsewhere:
            provider = self.built(vendor.url)
            stage = Stage(
                vendor=vendor,
                elsewhere=elsewhere,
                provider=provider,
                patience_seconds=self.patience_seconds,
                case=case,
                **set_up,
            )
            try:
                yield stage
            finally:
                await provider.aclose()

    def built(self, base_url: str) -> ImageProvider:
        """A new one, as a process would have it that has just started."""
        fetch = EgressGuard(parse_allowances("http://127.0.0.0/8:*")).fetch
        if self.is_local:
            return self.build(ProviderConfig(fetch=fetch))
        return self.build(ProviderConfig(api_key=self.key, base_url=base_url, fetch=fetch))


@asynccontextmanager
async def begun(*calls: Coroutine[Any, Any, _T]) -> AsyncIterator[list[asyncio.Task[_T]]]:
    """The calls as tasks, none of which outlives the block."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def png(*, shade: int = 128) -> bytes:
    """A whole grey picture of 64 by 64 pixels."""
    return _png(0, bytes([shade]) * _SIDE_PX)


def mask_png() -> bytes:
    """A mask for such a picture: its left half is transparent."""
    return _png(6, b"\xff\xff\xff\0" * (_SIDE_PX // 2) + b"\xff\xff\xff\xff" * (_SIDE_PX // 2))


def _png(colour_type: int, row: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", _SIDE_PX, _SIDE_PX, 8, colour_type, 0, 0, 0)
    rows = zlib.compress((b"\0" + row) * _SIDE_PX)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def may_have_cost(error: ProviderError) -> bool:
    """Whether it leaves open that the vendor charged, or says so, or names the vendor's policy."""
    return error.billed is not Billed.NO or error.unbilled_by_policy


def _named(error: Exception) -> str:
    kind = type(error)
    hint = "; nothing of the call had left" if isinstance(error, CallNotSent) else ""
    return f"{kind.__module__}.{kind.__qualname__}{hint}"
