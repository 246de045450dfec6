"""Where a server of a test listens."""

from __future__ import annotations

import socket


def listening_socket() -> socket.socket:
    """On a free port of this machine. An answer's head and its body leave at once.

    asyncio sees to that by itself only for sockets that name their protocol, which those of `create_server` do not:
    then each body waits 40 ms for its head to be acknowledged.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
