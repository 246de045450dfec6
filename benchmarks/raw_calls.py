"""A vendor called without an adapter: the same requests over the same kinds of connection, and nothing else."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from safelight.testing.vendor import SeenRequest

POLL_SECONDS = 0.01
"""Before each question after a job, with and without an adapter: time enough for an instant vendor to end it."""

_OF_THE_CONNECTION = ("host", "content-length")
_OF_A_QUESTION = ("authorization", "accept", "accept-encoding", "user-agent")
_OF_A_FILE = {"accept-encoding": "identity", "connection": "close"}
_RUNNING = ("starting", "processing", "IN_QUEUE", "IN_PROGRESS")


class Pauses:
    """The waits of one call, which are nobody's overhead: how many, and how long they took."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0

    async def rest(self) -> None:
        began = time.perf_counter()
        await asyncio.sleep(POLL_SECONDS)
        self.seconds += time.perf_counter() - began
        self.count += 1


class RawVendor:
    """Buys the picture that `asked`, an adapter's request, buys; from the vendor at `origin`.

    The request and the file have a connection each, the questions one that is kept, as with the adapter. An answer that
    holds the picture is read to its end and not parsed; that of a job is, for the addresses in it.
    """

    def __init__(self, kind: str, asked: SeenRequest, *, origin: str) -> None:
        self._kind = kind
        self._asked = asked
        self._url = origin + asked.target
        self._headers = {name: value for name, value in asked.headers.items() if name not in _OF_THE_CONNECTION}
        self._question = {name: value for name, value in self._headers.items() if name in _OF_A_QUESTION}
        unkept = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
        self._once = httpx2.AsyncClient(trust_env=False, timeout=None, limits=unkept)
        self._kept = httpx2.AsyncClient(trust_env=False, timeout=None)

    async def buy(self, pauses: Pauses) -> bytes:
        """The last answer's body: the picture, or what it is in. Raises httpx2.HTTPStatusError."""
        asked = self._asked
        answer = await self._once.request(asked.method, self._url, headers=self._headers, content=asked.body)
        body = answer.raise_for_status().content
        match self._kind:
            case "replicate":
                job = await self._ended(json.loads(body)["urls"]["get"], pauses)
                return await self._file(job["output"][0])
            case "fal":
                job = await self._ended(json.loads(body)["status_url"], pauses)
                result = await self._ask(job["response_url"])
                return await self._file(result["images"][0]["url"])
            case _:
                return body

    async def aclose(self) -> None:
        await self._once.aclose()
        await self._kept.aclose()

    async def _ended(self, url: str, pauses: Pauses) -> Mapping[str, Any]:
        while True:
            await pauses.rest()
            job = await self._ask(url)
            if job["status"] not in _RUNNING:
                return job

    async def _ask(self, url: str) -> Mapping[str, Any]:
        return json.loads((await self._kept.get(url, headers=self._question)).raise_for_status().content)

    async def _file(self, url: str) -> bytes:
        return (await self._once.get(url, headers=_OF_A_FILE)).raise_for_status().content
