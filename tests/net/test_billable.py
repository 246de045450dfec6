from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from safelight.net import billable
from safelight.net.billable import (
    AlreadySent,
    AnswerTooLarge,
    CallNotSent,
    billable_call,
    billable_client,
    current_call,
)

GZIPPED, DEFLATED = gzip.compress(b"x" * 1000), zlib.compress(b"x" * 1000)

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handle: Handler) -> AsyncIterator[str]:
    """A server's authority, `127.0.0.1:port`. Every connection is closed afterwards."""
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        try:
            await handle(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    await asyncio.gather(*serving)


async def never_shakes_hands(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


@dataclass(slots=True)
class Wire:
    """A server that keeps the bytes of each connection apart and leaves every connection open."""

    url: str = ""
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    received: list[bytearray] = field(default_factory=list)
    closed: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = bytearray()
        self.received.append(mine)
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                mine += chunk
                if mine.endswith(b"\r\n\r\n"):
                    writer.write(self.answer)
        self.closed.release()


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    async with listening(wire.serve) as authority:
        wire.url = f"http://{authority}/"
        yield wire


async def test_past_its_deadline_a_call_connects_but_sends_no_byte(wire: Wire) -> None:
    async with billable_client() as client:
        with billable_call(timeout_seconds=-1) as call:
            with pytest.raises(CallNotSent):
                await client.get(wire.url)
            await asyncio.wait_for(wire.closed.acquire(), 5)

    assert wire.received == [bytearray()]
    assert not call.has_left
    assert call.was_refused


async def test_a_handshake_that_fails_leaves_the_call_unsent() -> None:
    """A TLS hello is not a request: nothing in it can be charged for."""
    hellos: list[bytes] = []

    async def hangs_up(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        hellos.append(await reader.read(65536))

    async with listening(hangs_up) as authority, billable_client() as client:
        with billable_call(timeout_seconds=60) as call, pytest.raises(httpx2.ConnectError):
            await client.post(f"https://{authority}/", content=b"a prompt")

    assert len(hellos) == 1
    assert b"a prompt" not in hellos[0]
    assert not call.has_left


async def test_a_call_in_time_is_sent_and_says_so(wire: Wire) -> None:
    async with billable_client() as client:
        with billable_call(timeout_seconds=60) as call:
            assert current_call() is call
            response = await client.get(wire.url)

    assert response.text == "ok"
    assert call.has_left
    assert not call.was_refused
    assert current_call() is None


async def test_a_refused_connection_leaves_the_call_unsent() -> None:
    async with listening(never_shakes_hands) as authority:
        pass  # and its port is closed again

    async with billable_client() as client:
        with billable_call(timeout_seconds=60) as call, pytest.raises(httpx2.ConnectError):
            await client.get(f"http://{authority}/")

    assert not call.has_left


async def test_connecting_gives_up_early_whatever_timeout_the_caller_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(billable, "CONNECT_TIMEOUT_SECONDS", 0.2)
    async with listening(never_shakes_hands) as authority, billable_client() as client:
        for timeout in (None, 60):
            started = time.monotonic()
            with billable_call(timeout_seconds=60) as call, pytest.raises(httpx2.ConnectTimeout):
                await client.get(f"https://{authority}/", timeout=timeout)
            assert time.monotonic() - started < 5
            assert not call.has_left


async def test_a_second_request_within_one_call_is_stopped(wire: Wire) -> None:
    async with billable_client() as client:
        with billable_call(timeout_seconds=60) as call:
            await client.get(wire.url)
            with pytest.raises(AlreadySent):
                await client.get(wire.url)

    assert call.has_left
    assert sum(received.count(b"GET /") for received in wire.received) == 1


async def test_every_request_opens_a_connection_of_its_own(wire: Wire) -> None:
    async with billable_client() as client:
        for _ in range(3):
            with billable_call(timeout_seconds=60):
                await client.get(wire.url)
        await asyncio.gather(*(client.get(wire.url) for _ in range(4)))

    assert [received.count(b"GET /") for received in wire.received] == [1] * 7


async def test_a_proxy_or_netrc_of_the_environment_is_not_used(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxied: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        proxied.append(await reader.read(65536))

    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    async with listening(proxy) as authority:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{authority}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with billable_client() as client:
            response = await client.get(wire.url)

    assert response.status_code == 200
    assert proxied == []
    assert b"authorization" not in wire.received[0].lower()


async def test_a_redirect_is_an_answer_and_is_not_followed(wire: Wire) -> None:
    wire.answer = b"HTTP/1.1 307 Elsewhere\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    async with billable_client() as client:
        response = await client.post(wire.url)

    assert response.status_code == 307
    assert len(wire.received) == 1


async def test_two_calls_at_once_do_not_see_each_other(wire: Wire) -> None:
    async with billable_client() as client:

        async def send(timeout_seconds: float) -> tuple[bool, bool]:
            with billable_call(timeout_seconds=timeout_seconds) as call:
                try:
                    await client.get(wire.url)
                except CallNotSent:
                    assert call.was_refused
                return call.has_left, current_call() is call

        assert await asyncio.gather(send(60), send(-1)) == [(True, True), (False, True)]


def _answer(body: bytes, *headers: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode() + body


async def test_it_asks_for_a_body_that_is_not_compressed(wire: Wire) -> None:
    async with billable_client() as client:
        await client.get(wire.url)

    assert b"accept-encoding: identity\r\n" in wire.received[0].lower()


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (b"x" * 1000, "content-length: 1000"),
        (b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n", "transfer-encoding: chunked"),
        (GZIPPED, f"content-encoding: gzip\r\ncontent-length: {len(GZIPPED)}"),
        (DEFLATED, f"content-encoding: deflate\r\ncontent-length: {len(DEFLATED)}"),
    ],
    ids=["plain", "chunked", "gzip", "deflate"],
)
async def test_a_body_is_read_up_to_the_cap_and_not_a_byte_further(wire: Wire, body: bytes, header: str) -> None:
    wire.answer = _answer(body, header)
    async with billable_client(max_answer_bytes=1000) as client:
        assert (await client.get(wire.url)).content == b"x" * 1000
    async with billable_client(max_answer_bytes=999) as client:
        with billable_call(timeout_seconds=60) as call, pytest.raises(AnswerTooLarge):
            await client.get(wire.url)
        await asyncio.wait_for(wire.closed.acquire(), 20)

    assert call.has_left


async def test_a_body_that_announces_too_much_is_not_read_at_all(wire: Wire) -> None:
    wire.answer = _answer(b"", "content-length: 1001")  # and none of it ever comes
    async with billable_client(max_answer_bytes=1000) as client:
        with pytest.raises(AnswerTooLarge, match="1001"):
            await asyncio.wait_for(client.get(wire.url), 20)


async def test_a_gzip_bomb_is_never_put_together(wire: Wire) -> None:
    """Three hundred megabytes in 300 kB; what is held of them is the cap."""
    compressor = zlib.compressobj(wbits=31)
    bomb = b"".join(compressor.compress(bytes(1_000_000)) for _ in range(300)) + compressor.flush()
    wire.answer = _answer(bomb, "content-encoding: gzip", f"content-length: {len(bomb)}")
    tracemalloc.start()
    try:
        async with billable_client(max_answer_bytes=2_000_000) as client:
            with pytest.raises(AnswerTooLarge):
                await client.get(wire.url)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 10_000_000


@pytest.mark.parametrize("codings", ["gzip, gzip", "deflate, gzip", "gzip\r\ncontent-encoding: gzip"])
async def test_a_body_compressed_twice_is_refused_unread(wire: Wire, codings: str) -> None:
    body = gzip.compress(gzip.compress(b"{}"))
    wire.answer = _answer(body, f"content-encoding: {codings}", f"content-length: {len(body)}")
    async with billable_client() as client:
        with pytest.raises(httpx2.DecodingError, match="more than once"):
            await client.get(wire.url)


@pytest.mark.parametrize("headers", ["x-padding: " + "x" * 300_000, "\r\n".join(["x-padding: xxx"] * 20_000)])
async def test_headers_without_end_are_not_read_to_their_end(wire: Wire, headers: str) -> None:
    wire.answer = _answer(b"ok", headers, "content-length: 2")
    async with billable_client() as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(wire.url)


@pytest.mark.parametrize(
    "sent_at_once", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"], ids=["head", "body"]
)
async def test_a_drip_ends_with_the_total_deadline_and_its_connection_with_it(sent_at_once: bytes) -> None:
    """Each byte comes in time for any timeout per read; only a total ends it."""
    gone = asyncio.Event()

    async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent_at_once)
        listening_for_the_end = asyncio.create_task(reader.read())
        while not listening_for_the_end.done():
            writer.write(b"H")
            await asyncio.wait([listening_for_the_end], timeout=0.01)
        gone.set()

    async with listening(drips) as authority, billable_client() as client:
        with billable_call(timeout_seconds=60) as call, pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await client.get(f"http://{authority}/", timeout=0.2)
        await asyncio.wait_for(gone.wait(), 20)

    assert call.has_left
