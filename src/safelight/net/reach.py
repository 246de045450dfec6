"""Can an address be reached? Asked without saying anything there, so it can cost nothing."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from urllib.parse import urlsplit

from safelight.net.billable import CONNECT_TIMEOUT_SECONDS

_PORTS = {"http": 80, "https": 443}


async def why_unreachable(url: str) -> str | None:
    """Opens a TCP connection to the URL's host and closes it without a byte; None when that worked, else why not."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return "it is no URL"
    if not parts.hostname or port is None:
        return "it is no http or https URL"
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except TimeoutError:
        return f"no connection within {CONNECT_TIMEOUT_SECONDS:g} s"
    except OSError as error:
        return error.strerror or str(error)
    except ValueError:  # a UnicodeError, say: of a name that no resolver takes
        return "its host is no name"
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return None
