from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Iterable
from ipaddress import ip_address
from pathlib import Path

import httpcore2
import pytest
import uvloop
from connects import hearing
from loopback_site import Site, open_site, whole

from safelight.net import egress
from safelight.net.egress import EgressGuard, Resolve, Unresolvable, parse_allowances
from safelight.net.fetch import Fetch, Fetched, FetchFailed, FetchRefused
from safelight.net.pinned import PinnedNetwork

LOOPBACK = parse_allowances("http://127.0.0.1:*")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with open_site() as site:
        yield site


def answering(*answers: Iterable[str]) -> tuple[Resolve, list[str]]:
    """A resolver that answers differently each time it is asked, and what it was asked for."""
    asked: list[str] = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return list(answers[min(len(asked), len(answers)) - 1])

    return resolve, asked


def fetch_of(*answers: Iterable[str]) -> Fetch:
    resolve, _ = answering(*(answers or [["127.0.0.1"]]))
    return EgressGuard(LOOPBACK, resolve=resolve).fetch


async def get(fetch: Fetch, url: str, *, max_bytes: int = 1000, timeout_seconds: float = 20) -> Fetched:
    return await fetch(url, max_bytes=max_bytes, timeout_seconds=timeout_seconds)


async def test_what_is_allowed_is_read_over_one_connection(site: Site) -> None:
    site.says = whole(b"\x89PNG", "Content-Type: image/PNG; charset=binary")
    with hearing() as heard:
        fetched = await get(fetch_of(), f"http://127.0.0.1:{site.port}/a%20picture?size=1")

    assert fetched == Fetched(data=b"\x89PNG", mime="image/png")
    assert heard.connects == [("127.0.0.1", site.port)]
    assert site.requests[0].startswith(b"GET /a%20picture?size=1 HTTP/1.1\r\n")


@pytest.mark.parametrize("header", [[], ["content-type: "], ["content-type: ;x"]])
async def test_a_picture_without_a_type_has_none(site: Site, header: list[str]) -> None:
    site.says = whole(b"ok", *header)
    assert (await get(fetch_of(), f"http://127.0.0.1:{site.port}/")).mime is None


async def test_a_name_that_leads_elsewhere_after_the_check_has_no_effect(site: Site) -> None:
    resolve, asked = answering(["127.0.0.1"], ["127.0.0.2"])
    with hearing() as heard:
        await get(EgressGuard(LOOPBACK, resolve=resolve).fetch, f"http://pictures.example:{site.port}/x")

    assert asked == ["pictures.example"]
    assert heard.lookups.count("pictures.example") == 0
    assert heard.connects == [("127.0.0.1", site.port)]
    assert f"\r\nhost: pictures.example:{site.port}\r\n".encode() in site.requests[0].lower()


async def test_a_name_that_turns_private_between_two_fetches_is_refused_the_second_time(site: Site) -> None:
    resolve, asked = answering(["127.0.0.1"], ["169.254.169.254"])
    guard = EgressGuard(LOOPBACK, resolve=resolve)
    with hearing() as heard:
        await get(guard.fetch, f"http://pictures.example:{site.port}/x")
        with pytest.raises(FetchRefused):
            await get(guard.fetch, f"http://pictures.example:{site.port}/x")

    assert asked == ["pictures.example"] * 2
    assert heard.connects == [("127.0.0.1", site.port)]


class Elsewhere(httpcore2.AsyncNetworkBackend):
    """Notes where a connection should go and opens it to one port on loopback."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[tuple[str, int]] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.asked.append((host, port))
        backend: httpcore2.AsyncNetworkBackend = httpcore2.AnyIOBackend()  # pyright: ignore[reportAssignmentType]
        return await backend.connect_tcp("127.0.0.1", self.port, timeout)


async def test_a_public_name_is_connected_to_by_the_address_that_was_checked(site: Site) -> None:
    resolve, asked = answering(["93.184.216.34"], ["127.0.0.1"])
    network = Elsewhere(site.port)
    guard = EgressGuard(parse_allowances("http://93.184.216.34"), resolve=resolve, network=network)
    assert (await get(guard.fetch, "http://pictures.example/x")).data == b"ok"

    assert asked == ["pictures.example"]
    assert network.asked == [("93.184.216.34", 80)]
    assert b"\r\nhost: pictures.example\r\n" in site.requests[0].lower()


@pytest.mark.parametrize(("host", "port"), [("other.example", 443), ("pictures.example", 444), ("127.0.0.1", 443)])
async def test_no_other_host_than_the_checked_one_can_be_asked_for(site: Site, host: str, port: int) -> None:
    elsewhere = Elsewhere(site.port)
    network = PinnedNetwork("pictures.example", 443, [ip_address("93.184.216.34")], network=elsewhere)
    with pytest.raises(httpcore2.ConnectError):
        await network.connect_tcp(host, port)

    assert elsewhere.asked == []


async def test_the_workers_event_loop_keeps_to_the_checked_address_too() -> None:
    """What an audit hook cannot see: uvloop opens its sockets itself."""

    async def fetch() -> tuple[Fetched, list[bytes]]:
        async with open_site() as site:
            resolve, _ = answering(["127.0.0.1"], ["127.0.0.2"])
            guard = EgressGuard(LOOPBACK, resolve=resolve)
            fetched = await get(guard.fetch, f"http://pictures.example:{site.port}/x")
            with pytest.raises(FetchRefused):
                await get(EgressGuard().fetch, "https://localhost/x")
            return fetched, site.requests

    def run() -> tuple[Fetched, list[bytes]]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(fetch())

    fetched, requests = await asyncio.to_thread(run)
    assert fetched.data == b"ok"
    assert len(requests) == 1


async def test_an_address_that_does_not_answer_is_followed_by_the_next_one(site: Site) -> None:
    resolve, _ = answering(["127.0.0.2", "127.0.0.1", "127.0.0.1"])
    guard = EgressGuard(parse_allowances("http://127.0.0.0/8:*"), resolve=resolve)
    with hearing() as heard:
        assert (await get(guard.fetch, f"http://pictures.example:{site.port}/x")).data == b"ok"

    assert heard.connects == [("127.0.0.2", site.port), ("127.0.0.1", site.port)]


async def test_a_host_that_leads_nowhere_is_unresolvable() -> None:
    async def unknown(_host: str, _port: int) -> list[str]:
        raise OSError("Name or service not known")

    async def senseless(_host: str, _port: int) -> list[str]:
        return ["not an address"]

    for resolve in (unknown, senseless, answering([])[0]):
        guard = EgressGuard(resolve=resolve)
        with pytest.raises(Unresolvable, match=r"pictures\.example"):
            await guard.check("https://pictures.example/x")
        with pytest.raises(FetchFailed) as failed:
            await get(guard.fetch, "https://pictures.example/x")
        assert not failed.value.is_final


async def test_a_name_that_the_machines_resolver_does_not_take_is_unresolvable() -> None:
    too_long_for_dns = ".".join(["a" * 63] * 5)
    with pytest.raises(Unresolvable):
        await EgressGuard().check(f"https://{too_long_for_dns}/")


async def test_a_resolver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "RESOLVE_TIMEOUT_SECONDS", 0.1)

    async def hangs(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    started = time.monotonic()
    with pytest.raises(Unresolvable):
        await get(EgressGuard(resolve=hangs).fetch, "https://pictures.example/x")
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_the_end_and_is_not_followed(site: Site, status: int) -> None:
    site.says = whole(b"", "location: http://169.254.169.254/latest/meta-data/", status=f"{status} Elsewhere")
    with hearing() as heard, pytest.raises(FetchFailed) as failed:
        await get(fetch_of(), f"http://127.0.0.1:{site.port}/x")

    assert (failed.value.is_final, failed.value.http_status) == (True, status)
    assert heard.connects == [("127.0.0.1", site.port)]
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    ("status", "is_final"),
    [
        *((status, False) for status in (201, 202, 204, 206, 408, 429, 500, 503, 504)),
        *((status, True) for status in (300, 304, 400, 401, 403, 404, 410, 451)),
    ],
)
async def test_only_a_200_is_read(site: Site, status: int, is_final: bool) -> None:
    site.says = f"HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n".encode()
    with pytest.raises(FetchFailed, match=str(status)) as failed:
        await get(fetch_of(), f"http://127.0.0.1:{site.port}/x")

    assert (failed.value.is_final, failed.value.http_status) == (is_final, status)


async def test_no_cookie_no_credential_and_no_proxy_is_used(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    site.says = whole(b"ok", "set-cookie: session=1; path=/")
    fetch = fetch_of()
    with hearing() as heard:
        for _ in range(2):
            await get(fetch, f"http://127.0.0.1:{site.port}/x")

    assert heard.connects == [("127.0.0.1", site.port)] * 2
    for request in site.requests:
        names = {line.partition(b":")[0].lower() for line in request.splitlines()[1:] if line}
        assert names == {b"host", b"accept", b"accept-encoding", b"connection", b"user-agent"}
        assert b"accept-encoding: identity\r\n" in request.lower()


GZIPPED = gzip.compress(b"x" * 1000)


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"x" * 1000),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1000,
        whole(GZIPPED, "content-encoding: gzip"),
        whole(zlib.compress(b"x" * 1000), "content-encoding: deflate"),
    ],
    ids=["length", "chunked", "until it ends", "gzip", "deflate"],
)
async def test_a_body_is_read_up_to_the_cap_and_not_a_byte_further(site: Site, answer: bytes) -> None:
    site.says = answer
    url = f"http://127.0.0.1:{site.port}/x"
    assert (await get(fetch_of(), url, max_bytes=1000)).data == b"x" * 1000
    with pytest.raises(FetchFailed, match="999") as failed:
        await get(fetch_of(), url, max_bytes=999)

    assert failed.value.is_final


async def test_a_body_that_announces_too_much_is_not_waited_for(site: Site) -> None:
    site.says = b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n"  # and none of it ever comes
    with pytest.raises(FetchFailed, match="1001") as failed:
        await get(fetch_of(), f"http://127.0.0.1:{site.port}/x")

    assert failed.value.is_final


async def test_a_gzip_bomb_is_never_put_together(site: Site) -> None:
    """Three hundred megabytes in 300 kB; what is held of them is the cap."""
    compressor = zlib.compressobj(wbits=31)
    bomb = b"".join(compressor.compress(bytes(1_000_000)) for _ in range(300)) + compressor.flush()
    site.says = whole(bomb, "content-encoding: gzip")
    tracemalloc.start()
    try:
        with pytest.raises(FetchFailed) as failed:
            await get(fetch_of(), f"http://127.0.0.1:{site.port}/x", max_bytes=2_000_000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert failed.value.is_final
    assert peak_bytes < 10_000_000


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\ncut",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\nnot gzip",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip, gzip\r\n\r\n" + gzip.compress(GZIPPED),
        b"HTTP/1.1 200 OK\r\nx-padding: " + b"x" * 300_000,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
    ids=["short", "cut chunk", "not gzip", "twice gzip", "endless head", "not HTTP", "nothing"],
)
async def test_an_answer_that_breaks_off_or_makes_no_sense_is_a_failure_to_try_again(site: Site, answer: bytes) -> None:
    async def say(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    site.answer = say
    with pytest.raises(FetchFailed) as failed:
        await get(fetch_of(), f"http://127.0.0.1:{site.port}/x?canary")

    assert not failed.value.is_final
    assert "canary" not in str(failed.value)
    assert len(str(failed.value)) < 300


async def test_a_port_where_nobody_listens_is_a_failure_to_try_again() -> None:
    async with open_site() as site:
        pass  # and its port is closed again
    with pytest.raises(FetchFailed) as failed:
        await get(fetch_of(), f"http://127.0.0.1:{site.port}/x")

    assert not failed.value.is_final


@pytest.mark.parametrize("at_once", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n"], ids=["head", "body"])
async def test_a_drip_ends_with_the_total_deadline_and_its_connection_with_it(site: Site, at_once: bytes) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(at_once)
        end = asyncio.create_task(reader.read())
        while not end.done():
            writer.write(b"H")
            await asyncio.wait([end], timeout=0.01)

    site.answer = drip
    started = time.monotonic()
    with pytest.raises(FetchFailed, match=r"0\.3 s") as failed:
        await get(fetch_of(), f"http://127.0.0.1:{site.port}/x", timeout_seconds=0.3)

    assert time.monotonic() - started < 5
    assert not failed.value.is_final
    await asyncio.wait_for(site.gone.wait(), 20)


async def test_a_handshake_that_never_comes_is_given_up_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "CONNECT_TIMEOUT_SECONDS", 0.2)
    async with open_site() as site:  # it waits for a request and says nothing about TLS
        guard = EgressGuard(parse_allowances("https://127.0.0.1:*"))
        started = time.monotonic()
        with pytest.raises(FetchFailed) as failed:
            await get(guard.fetch, f"https://127.0.0.1:{site.port}/x", timeout_seconds=60)

    assert time.monotonic() - started < 5
    assert not failed.value.is_final
