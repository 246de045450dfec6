"""A real S3 server in a process of its own, and a proxy before it that plays a bucket in trouble."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid4

from safelight.storage.place import BucketPlace, Vendor

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test-secret", "AWS_REGION": "us-east-1"}
_SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"

_SERVER = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()  # gone when the tests are
from moto.server import main
main(["-H", "127.0.0.1", "-p", sys.argv[1]])
"""


@contextmanager
def running_s3() -> Iterator[str]:
    """The address of a server without buckets, gone when the block or this process ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = subprocess.DEVNULL
    command = [sys.executable, "-W", "ignore", "-c", _SERVER, str(port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet)
    try:
        give_up_at = time.monotonic() + 60
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, "the S3 server died"
            assert time.monotonic() < give_up_at, "the S3 server does not come up"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def new_bucket(url: str) -> str:
    name = f"bucket-{uuid4().hex[:12]}"
    request = urllib.request.Request(f"{url}/{name}", method="PUT", headers={"Authorization": _SIGNED})
    with urllib.request.urlopen(request, timeout=20):
        return name


def place_in(url: str, bucket: str, *, prefix: str = "pictures", timeout_seconds: float = 20.0) -> BucketPlace:
    return BucketPlace(
        vendor=Vendor.S3, bucket=bucket, prefix=prefix, endpoint=url, region=None, timeout_seconds=timeout_seconds
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`path` without the bucket and its query."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Instead of the server's. `is_late`: only after the server has done what it was asked for."""

    status: int
    body: bytes = b""
    is_late: bool = False


class Silence:
    """Nothing is answered, for as long as the client waits."""


class Cut:
    """The connection breaks while the request is sent: the server never sees the end of it."""


Fault = Answer | Silence | Cut
AWAY = Answer(status=503, body=b"<Error><Code>SlowDown</Code></Error>")


@dataclass(kw_only=True)
class Trouble:
    """What happens to requests: `fault` decides for each; None lets it through."""

    upstream: str
    url: str = ""
    fault: Callable[[Request], Fault | None] = lambda _request: None
    seen: list[Request] = field(default_factory=list)

    def go_away(self) -> None:
        self.fault = lambda _request: AWAY

    def come_back(self) -> None:
        self.fault = lambda _request: None

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            await self._serve(client, to_client)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            to_client.transport.abort() if to_client.transport.get_write_buffer_size() == 0 else to_client.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        head = await client.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        lines = head.decode("latin-1").split("\r\n")[1:-2]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        path, _, query = target.partition("?")
        early = Request(method=method, path=path.lstrip("/").partition("/")[2], query=query, headers=headers, body=b"")
        fault = self.fault(early)
        self.seen.append(early)
        if isinstance(fault, Cut):
            return
        body = await client.readexactly(int(headers.get("content-length", "0")))
        if isinstance(fault, Silence):
            await client.read()
            return
        answer = b""
        if not isinstance(fault, Answer) or fault.is_late:
            answer = await self._ask(head, body)
        if isinstance(fault, Answer):
            length = f"Content-Length: {len(fault.body)}\r\n"
            etag = 'ETag: "0"\r\n' if fault.status < 300 else ""
            answer = f"HTTP/1.1 {fault.status} Said So\r\n{length}{etag}Connection: close\r\n\r\n".encode() + fault.body
        to_client.write(answer)
        await to_client.drain()

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        parts = urlsplit(self.upstream)
        server, to_server = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            first, rest = head.split(b"\r\n", 1)
            to_server.write(first + b"\r\nConnection: close\r\n" + rest + body)
            answer = await server.read()
        finally:
            to_server.close()
        first, rest = answer.split(b"\r\n", 1)
        return first + b"\r\nConnection: close\r\n" + rest


@asynccontextmanager
async def trouble_before(url: str) -> AsyncIterator[Trouble]:
    trouble = Trouble(upstream=url)
    server = await asyncio.start_server(trouble.serve, "127.0.0.1", 0)
    trouble.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield trouble
    finally:
        server.close()
