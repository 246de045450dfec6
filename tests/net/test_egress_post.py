"""A guarded POST: where it goes, how long it takes, and what is read of the answer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NoReturn

import httpcore2
import pytest
from connects import hearing
from denied_addresses import DENIED
from loopback_site import Site, open_site, whole

from safelight.net import egress
from safelight.net.egress import MAX_REPLY_BYTES, EgressGuard, Unresolvable, parse_allowances
from safelight.net.fetch import FetchFailed, FetchRefused
from safelight.net.post import Posted

LOOPBACK = parse_allowances("http://127.0.0.1:*")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with open_site() as site:
        yield site


def guard_of(*addresses: str) -> EgressGuard:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        if not addresses:
            raise OSError("Name or service not known")
        return addresses

    return EgressGuard(LOOPBACK, resolve=resolve)


async def post(guard: EgressGuard, url: str, *, timeout_seconds: float = 20.0) -> Posted:
    return await guard.post(
        url, body=b'{"a": 1}', headers={"content-type": "application/json", "x-a": "b"}, timeout_seconds=timeout_seconds
    )


async def test_what_is_posted_is_the_body_with_its_headers_and_nothing_of_ours(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    bodies: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append(await reader.readexactly(8))
        writer.write(whole(b"thanks", "Retry-After: 7", "set-cookie: a=b", status="202 Accepted"))

    site.answer = answer
    with hearing() as heard:
        url = f"http://hooks.example:{site.port}/hook?token=1"
        posted = await post(guard_of("127.0.0.1"), url)
        assert await post(guard_of("127.0.0.1"), url) == posted

    assert (posted.http_status, posted.reply, posted.headers["retry-after"]) == (202, b"thanks", "7")
    assert bodies == [b'{"a": 1}'] * 2
    assert heard.connects == [("127.0.0.1", site.port)] * 2
    for request in site.requests:
        assert request.startswith(b"POST /hook?token=1 HTTP/1.1\r\n")
        names = {line.partition(b":")[0].lower() for line in request.splitlines()[1:] if line}
        ours = {b"host", b"accept", b"accept-encoding", b"connection", b"user-agent", b"content-length"}
        assert names == ours | {b"content-type", b"x-a"}


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 410, 429, 500])
async def test_every_answer_is_one_and_no_redirect_is_followed(site: Site, status: int) -> None:
    site.says = whole(b"", "location: http://169.254.169.254/", status=f"{status} So")
    with hearing() as heard:
        posted = await post(guard_of("127.0.0.1"), f"http://hooks.example:{site.port}/")

    assert posted.http_status == status
    assert heard.connects == [("127.0.0.1", site.port)]


@pytest.mark.parametrize("address", DENIED)
async def test_an_address_that_is_denied_is_not_connected_to(address: str) -> None:
    guard = EgressGuard(resolve=guard_of(address)._resolve)
    with hearing() as heard, pytest.raises(FetchRefused):
        await post(guard, "https://hooks.example/")

    assert heard.connects == []


async def test_a_name_of_a_private_network_is_refused_where_another_may_be_found_later() -> None:
    for name in ("db.internal", "printer.local", "x.localhost", "router.home.arpa", "DB.INTERNAL."):
        with pytest.raises(FetchRefused):
            await guard_of().check(f"https://{name}/")
    for name in ("internal.example", "localhost.example", "hooks.example"):
        with pytest.raises(Unresolvable):
            await guard_of().check(f"https://{name}/")


async def test_no_more_than_a_part_of_a_long_reply_is_read(site: Site) -> None:
    sent = 0

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        while sent < 100_000_000:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    site.answer = answer
    posted = await post(guard_of("127.0.0.1"), f"http://hooks.example:{site.port}/")
    await asyncio.wait_for(site.gone.wait(), 20)

    assert (posted.http_status, len(posted.reply)) == (200, MAX_REPLY_BYTES)
    assert sent < 20_000_000, "what the sockets' buffers hold, and no more"


async def test_a_reply_that_drips_or_breaks_off_is_as_good_as_its_beginning(site: Site) -> None:
    url = f"http://hooks.example:{site.port}/"

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.01)

    site.answer = drip
    posted = await post(guard_of("127.0.0.1"), url, timeout_seconds=0.3)
    assert posted.http_status == 200
    assert set(posted.reply) <= {ord(".")}

    site.answer, site.says = None, b"HTTP/1.1 201 So\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense"
    posted = await post(guard_of("127.0.0.1"), url)
    assert (posted.http_status, posted.reply) == (201, b"hello")


@pytest.mark.parametrize("says", [b"HTTP/1.1 200", b"nonsense\r\n\r\n", b""])
async def test_without_a_status_there_was_no_answer(site: Site, says: bytes) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)

    site.answer = answer
    with pytest.raises(FetchFailed) as failed:
        await post(guard_of("127.0.0.1"), f"http://hooks.example:{site.port}/?canary")

    assert "canary" not in str(failed.value)


async def test_a_receiver_that_says_nothing_is_not_waited_for(site: Site) -> None:
    async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    site.answer = hang
    with pytest.raises(FetchFailed, match=r"no answer within 0\.3 s"):
        await post(guard_of("127.0.0.1"), f"http://hooks.example:{site.port}/", timeout_seconds=0.3)
    for task in site.serving:
        task.cancel()
    site.serving.clear()


class Stopped(httpcore2.AsyncNetworkBackend):
    """Opens a connection, and then the whole process stands still for a while."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        backend: httpcore2.AsyncNetworkBackend = httpcore2.AnyIOBackend()  # pyright: ignore[reportAssignmentType]
        stream = await backend.connect_tcp(host, port, timeout)
        time.sleep(0.4)  # noqa: ASYNC251 - as if by SIGSTOP
        return stream


async def test_nothing_leaves_after_its_time(site: Site) -> None:
    """A process that was stopped with its connection open, and goes on when others have taken over."""
    guard = EgressGuard(LOOPBACK, resolve=guard_of("127.0.0.1")._resolve, network=Stopped())
    with pytest.raises(FetchFailed):
        await post(guard, f"http://hooks.example:{site.port}/", timeout_seconds=0.3)
    await asyncio.wait_for(site.gone.wait(), 20)

    assert site.requests == []


async def test_names_that_are_looked_up_slowly_hold_no_thread_that_files_need(monkeypatch: pytest.MonkeyPatch):
    """Whoever owns a name decides how long its lookup takes, and a lookup cannot be broken off."""
    may_answer = threading.Event()

    def slow(*_: object, **__: object) -> NoReturn:
        may_answer.wait(20)
        raise OSError

    monkeypatch.setattr("socket.getaddrinfo", slow)
    guard = EgressGuard()
    try:
        asked = [asyncio.create_task(guard.check(f"https://slow-{n}.example/")) for n in range(40)]
        await asyncio.wait(asked)
        async with asyncio.timeout(2):
            assert await asyncio.to_thread(lambda: "stored") == "stored"
    finally:
        may_answer.set()


async def test_names_of_one_owner_that_are_looked_up_slowly_keep_no_other_from_being_found(
    monkeypatch: pytest.MonkeyPatch,
):
    """Nor does who asked for them and has gone long since leave their places to more of them."""
    monkeypatch.setattr(egress, "RESOLVE_TIMEOUT_SECONDS", 0.2)
    may_answer = threading.Event()
    looked_up: list[str] = []

    def answers(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        looked_up.append(host)
        if "slow" in host:
            may_answer.wait(20)
        return [(2, 1, 6, "", ("93.184.216.34", port))]

    monkeypatch.setattr("socket.getaddrinfo", answers)
    guard = EgressGuard()
    try:
        for round_ in range(3):
            asked = [guard.check(f"https://n{n}.r{round_}.Slow.example./") for n in range(100)]
            assert {type(each) for each in await asyncio.gather(*asked, return_exceptions=True)} == {Unresolvable}
        monkeypatch.setattr(egress, "RESOLVE_TIMEOUT_SECONDS", 5.0)
        await asyncio.gather(*(guard.check(f"https://n{n}.quick.example/") for n in range(100)))
        assert len([host for host in looked_up if "slow" in host]) == 8
    finally:
        may_answer.set()
