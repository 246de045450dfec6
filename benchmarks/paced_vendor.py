"""A vendor that answers at a steady pace, whatever it is asked: it holds each call, and lets one go every so often.

It speaks as much of Gemini's protocol as a picture takes, and notes when each picture left, by this process's clock.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from PIL import Image

_MARK = re.compile(rb"picture (\d+-\d+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def prompt_of(job: int, image: int) -> str:
    """A prompt that this vendor knows its picture by."""
    return f"A quiet room, picture {job}-{image}"


@dataclass(slots=True, kw_only=True)
class PacedVendor:
    """`left` says when the answer with a picture was written, in seconds of `time.perf_counter`, by job and image."""

    url: str = ""
    left: dict[str, float] = field(default_factory=dict[str, float])
    _held: deque[tuple[str, asyncio.StreamWriter]] = field(
        default_factory=deque[tuple[str, asyncio.StreamWriter]], init=False
    )
    _more: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def holds(self) -> int:
        """Calls that wait for their answer."""
        return len(self._held)

    async def let_go(self, *, per_second: float, pictures: int) -> None:
        """So many answers, evenly; a call that has not come yet is waited for."""
        due = time.perf_counter()
        for _ in range(pictures):
            while not self._held:
                self._more.clear()
                await self._more.wait()
            due = max(due + 1 / per_second, time.perf_counter() - 0.1)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            mark, writer = self._held.popleft()
            writer.write(_ANSWER)
            self.left[mark] = time.perf_counter()
            with suppress(ConnectionError):
                await writer.drain()
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        mark = _MARK.search(await reader.readexactly(int(length[1]) if length else 0))
        assert mark is not None, "a prompt of `prompt_of`"
        self._held.append((mark[1].decode(), writer))
        self._more.set()


@asynccontextmanager
async def paced_vendor() -> AsyncIterator[PacedVendor]:
    vendor = PacedVendor()
    server = await asyncio.start_server(vendor.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    vendor.url = f"http://{host}:{port}"
    try:
        yield vendor
    finally:
        server.close()


def _answer() -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(file, "PNG")
    picture = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(file.getvalue()).decode()}}
    body = json.dumps(
        {
            "candidates": [{"content": {"role": "model", "parts": [picture]}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {
                "promptTokenCount": 12,
                "candidatesTokenCount": 1290,
                "totalTokenCount": 1302,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}],
            },
        }
    ).encode()
    head = (
        f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


_ANSWER = _answer()
