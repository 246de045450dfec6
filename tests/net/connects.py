"""What this process connects to and which names it looks up, heard by an audit hook: nothing that Python does with a
socket goes around it. (uvloop's own sockets do.)"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Heard:
    connects: list[tuple[Any, ...]] = field(default_factory=list)
    lookups: list[str] = field(default_factory=list)


_listening: list[Heard] = []


@contextmanager
def hearing() -> Iterator[Heard]:
    heard = Heard()
    _listening.append(heard)
    try:
        yield heard
    finally:
        _listening.remove(heard)


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if not _listening:
        return
    if event == "socket.connect":
        for heard in _listening:
            heard.connects.append(args[1])
    elif event == "socket.getaddrinfo":
        for heard in _listening:
            heard.lookups.append(args[0])


sys.addaudithook(_hear)
