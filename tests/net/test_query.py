from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from connects import hearing
from loopback_site import Site, open_site, whole

from safelight.net import query
from safelight.net.billable import billable_client
from safelight.net.capped import AnswerTooLarge
from safelight.net.query import query_client


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with open_site() as site:
        yield site


async def test_polling_keeps_its_connection(site: Site) -> None:
    async with query_client() as client:
        with hearing() as heard:
            for _ in range(5):
                assert (await client.get(f"http://127.0.0.1:{site.port}/job")).text == "ok"

    assert heard.connects == [("127.0.0.1", site.port)]
    assert len(site.requests) == 5
    assert b"accept-encoding: identity\r\n" in site.requests[0].lower()


@pytest.mark.parametrize("client_of", [query_client, billable_client])
async def test_a_cookie_is_never_sent_back(site: Site, client_of: type[httpx2.AsyncClient]) -> None:
    site.says = whole(b"ok", "set-cookie: session=1; path=/", "set-cookie2: other=2; Version=1")
    async with client_of() as client:
        for _ in range(2):
            await client.get(f"http://127.0.0.1:{site.port}/")
        assert len(client.cookies) == 0

    assert len(site.requests) == 2
    assert b"cookie" not in b"".join(site.requests).lower()


async def test_a_redirect_is_an_answer_and_is_not_followed(site: Site) -> None:
    site.says = whole(b"", "location: /elsewhere", status="307 Elsewhere")
    async with query_client() as client:
        assert (await client.get(f"http://127.0.0.1:{site.port}/")).status_code == 307

    assert len(site.requests) == 1


async def test_an_answer_is_capped(site: Site) -> None:
    site.says = whole(b"x" * 1000)
    async with query_client(max_answer_bytes=1000) as client:
        assert len((await client.get(f"http://127.0.0.1:{site.port}/")).content) == 1000
    async with query_client(max_answer_bytes=999) as client:
        with pytest.raises(AnswerTooLarge):
            await client.get(f"http://127.0.0.1:{site.port}/")


@pytest.mark.parametrize("timeout", [None, 60])
async def test_a_read_ends_early_whatever_timeout_the_caller_set(
    site: Site, monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    site.answer = hang
    monkeypatch.setattr(query, "READ_TIMEOUT_SECONDS", 0.2)
    started = time.monotonic()
    async with query_client() as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(f"http://127.0.0.1:{site.port}/", timeout=timeout)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("timeout", [None, 60])
async def test_connecting_ends_early_whatever_timeout_the_caller_set(
    site: Site, monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    monkeypatch.setattr(query, "CONNECT_TIMEOUT_SECONDS", 0.2)
    started = time.monotonic()
    async with query_client() as client:
        with pytest.raises(httpx2.ConnectTimeout):  # the site waits for a request and says nothing about TLS
            await client.get(f"https://127.0.0.1:{site.port}/", timeout=timeout)
    assert time.monotonic() - started < 5


async def test_a_caller_that_sets_no_timeout_gets_the_whole_of_ours() -> None:
    async with query_client() as client:
        assert client.timeout == httpx2.Timeout(None)


async def test_a_shorter_timeout_of_the_caller_holds(site: Site) -> None:
    async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    site.answer = hang
    started = time.monotonic()
    async with query_client() as client:
        with pytest.raises(httpx2.ReadTimeout):
            await client.get(f"http://127.0.0.1:{site.port}/", timeout=0.1)
    assert time.monotonic() - started < 5


async def test_a_proxy_or_netrc_of_the_environment_is_not_used(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with query_client() as client:
        assert (await client.get(f"http://127.0.0.1:{site.port}/")).status_code == 200

        assert not client.trust_env

    assert b"authorization" not in site.requests[0].lower()
