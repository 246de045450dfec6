"""This machine's resolver, asked for names that somebody else chose.

Whoever owns a name decides how long its lookup takes, and a lookup cannot be broken off: it holds its thread until the
system gives up. So lookups have threads of their own, not those that files are read and written on, and names of one
owner have a few of them at once:

    name ── its owner's places ── a thread ── addresses
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

_THREADS = ThreadPoolExecutor(max_workers=128, thread_name_prefix="resolve")
"""They are started when they are needed. Chosen."""

_AT_ONCE = 8
"""Lookups of names of one owner: a sixteenth of the threads. Chosen; where names are known, eight make a hundred
lookups in a second."""


class Resolver:
    """Asks for the addresses that this machine's resolver knows of a host. The shares are kept by one event loop."""

    def __init__(self) -> None:
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def __call__(self, host: str, port: int) -> list[str]:
        """Raises OSError and UnicodeError. Waits while as many names of its owner are looked up as may be at once."""
        places = self._places.setdefault(_owner(host), asyncio.Semaphore(_AT_ONCE))
        await places.acquire()
        lookup = _THREADS.submit(partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM))
        lookup.add_done_callback(partial(_give_back, asyncio.get_running_loop(), places.release))
        answers = await asyncio.wrap_future(lookup)
        # In an IPv6 answer the last of four fields is the scope.
        return [f"{at[0]}%{at[3]}" if len(at) == 4 and at[3] else str(at[0]) for *_, at in answers]


def _owner(host: str) -> str:
    """The last two labels: below most endings that is who bought the name."""
    return ".".join(host.lower().rstrip(".").split(".")[-2:])


def _give_back(loop: asyncio.AbstractEventLoop, release: Callable[[], None], _: Future[Any]) -> None:
    """When the thread is free, however long ago the caller has gone."""
    with suppress(RuntimeError):  # the loop is closed: nobody waits for a place
        loop.call_soon_threadsafe(release)
