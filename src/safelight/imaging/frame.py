"""How the pool and its child talk: two lengths, a JSON header, and a body of plain bytes."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any, BinaryIO

_LENGTHS = struct.Struct("!II")
_MAX_HEADER_BYTES = 1 << 20
_MAX_BODY_BYTES = 1 << 30

Frame = tuple[dict[str, Any], bytes]


def encode(header: dict[str, Any], body: bytes) -> list[bytes]:
    encoded = json.dumps(header).encode()
    return [_LENGTHS.pack(len(encoded), len(body)), encoded, body]


def read(pipe: BinaryIO) -> Frame | None:
    """None when the other side has closed the pipe, be it in the middle of a frame."""
    prefix = pipe.read(_LENGTHS.size)
    if len(prefix) < _LENGTHS.size:
        return None
    header_bytes, body_bytes = _LENGTHS.unpack(prefix)
    header, body = pipe.read(header_bytes), pipe.read(body_bytes)
    if len(header) + len(body) < header_bytes + body_bytes:
        return None
    return json.loads(header), body


async def receive(stream: asyncio.StreamReader) -> Frame:
    """Raises IncompleteReadError when the stream ends early, ValueError when what comes is not a frame."""
    header_bytes, body_bytes = _LENGTHS.unpack(await stream.readexactly(_LENGTHS.size))
    if header_bytes > _MAX_HEADER_BYTES or body_bytes > _MAX_BODY_BYTES:
        raise ValueError(f"a frame of {header_bytes} + {body_bytes} bytes")
    header = json.loads(await stream.readexactly(header_bytes))
    return header, await stream.readexactly(body_bytes)
