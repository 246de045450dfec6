"""The client's own key: sent with every call, to nobody else, and what it hears when the key will not do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from safelight.client import Forbidden, SafelightClient, SyncSafelightClient, Unauthenticated
from safelight.domain.access import KeyScope
from tests.api.conftest import Serve, job
from tests.api.doors import key_for


async def test_a_client_with_a_key_does_everything_and_one_without_is_told_what_is_missing(
    serve_with: Serve, pool: asyncpg.Pool
) -> None:
    key, _ = await key_for(pool, "acme")
    async with serve_with(may_run_open=False) as http:
        url = str(http.base_url)
        async with SafelightClient(url, api_key=key) as client:
            submitted = await client.submit(job())
            assert (await client.jobs())["jobs"][0]["id"] == submitted.job.id
            stream = client.events(submitted.job.id)
            assert (await anext(stream)).type == "snapshot"
            await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue]
        async with SafelightClient(url) as client:
            assert await client.is_up()
            with pytest.raises(Unauthenticated, match="SAFELIGHT_API_KEY"):
                await client.submit(job())
        reader, _ = await key_for(pool, "acme", KeyScope.READ)
        async with SafelightClient(url, api_key=reader) as client:
            with pytest.raises(Forbidden) as refused:
                await client.submit(job())
            assert (refused.value.slug, refused.value.status) == ("insufficient-scope", 403)
            assert not refused.value.is_retryable

        def waits() -> str:
            with SyncSafelightClient(url, api_key=key) as sync:
                return sync.job(submitted.job.id).id

        assert await asyncio.to_thread(waits) == submitted.job.id


async def test_a_redirect_to_another_address_leaves_the_key_behind() -> None:
    heard: list[bytes] = []
    async with answering(heard, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi") as elsewhere:
        away = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}/picture\r\nContent-Length: 0\r\n\r\n".encode()
        asked: list[bytes] = []
        async with answering(asked, away) as service, SafelightClient(service, api_key="sl_secret") as client:
            assert await client.picture("job_1", "one") == b"hi"
    assert b"Bearer sl_secret" in asked[0]
    assert b"sl_secret" not in heard[0]


@asynccontextmanager
async def answering(heard: list[bytes], answer: bytes) -> AsyncIterator[str]:
    """Answers every request alike, on a port of its own."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
