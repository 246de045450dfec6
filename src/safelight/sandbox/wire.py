"""An answer and its way to the caller: as HTTP means it, or byte by byte on the connection itself."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

JSON = "application/json; charset=UTF-8"
HTML = "text/html; charset=UTF-8"

_LINGER_FOR_NOTHING = struct.pack("ii", 1, 0)  # closing then sends RST in place of FIN


class Delivery(StrEnum):
    """How much of an answer arrives, and how. All but `whole` end the connection."""

    WHOLE = "whole"
    NOTHING = "nothing"
    RESET = "reset"
    DRIP_HEADERS = "drip-headers"
    DRIP_BODY = "drip-body"
    SHORT_BODY = "short-body"
    CUT_CHUNK = "cut-chunk"
    HALF_BODY = "half-body"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back. `byte_seconds` is the pause after each byte that drips; `more` are headers of its own."""

    status: int = 200
    body: bytes = b""
    media_type: str = JSON
    encoding: str | None = None
    more: Mapping[str, str] = field(default_factory=dict[str, str])
    delivery: Delivery = Delivery.WHOLE
    byte_seconds: float = 0.0

    def headers(self) -> dict[str, str]:
        """All that do not depend on the delivery."""
        encoding = {"content-encoding": self.encoding} if self.encoding else {}
        return {"content-type": self.media_type, **encoding, **self.more}


CUT = Answer(delivery=Delivery.NOTHING)


async def deliver(answer: Answer, connection: asyncio.Transport) -> None:
    """Writes what is to arrive, past any HTTP server, and ends the connection; returns early when the caller has."""
    length = {"content-length": str(len(answer.body))}
    half = answer.body[: len(answer.body) // 2]
    match answer.delivery:
        case Delivery.NOTHING:
            pass
        case Delivery.RESET:
            raw: socket.socket = connection.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_FOR_NOTHING)
            connection.abort()
        case Delivery.DRIP_HEADERS:
            await _drip(_head(answer, length) + answer.body, connection, byte_seconds=answer.byte_seconds)
        case Delivery.DRIP_BODY:
            connection.write(_head(answer, length))
            await _drip(answer.body, connection, byte_seconds=answer.byte_seconds)
        case Delivery.WHOLE:
            connection.write(_head(answer, length) + answer.body)
        case Delivery.SHORT_BODY:
            connection.write(_head(answer, length) + half)
        case Delivery.CUT_CHUNK:
            chunk = f"{len(answer.body):x}\r\n".encode()
            connection.write(_head(answer, {"transfer-encoding": "chunked"}) + chunk + half)
        case Delivery.HALF_BODY:
            connection.write(_head(answer, {}) + half)
    connection.close()


def _head(answer: Answer, framing: dict[str, str]) -> bytes:
    headers = answer.headers() | framing | {"connection": "close"}
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _drip(content: bytes, connection: asyncio.Transport, *, byte_seconds: float) -> None:
    for byte in content:
        if connection.is_closing():
            return
        connection.write(bytes((byte,)))
        await asyncio.sleep(byte_seconds)
