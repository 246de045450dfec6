"""A job's archive as a file, there whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from safelight.client.errors import ApiProblem, NotSaved, Unreachable, asked_pause_seconds
from safelight.client.transport import Transport


async def save_archive(transport: Transport, address: str, path: Path) -> None:
    """What the address gives, under the path; begun anew, for as long as the transport is patient, when it breaks off.

    Raises NotSaved when the file cannot be written.
    """
    patience = transport.patience()
    part = path.with_name(f".{uuid4().hex}~part")
    try:
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        while True:
            try:
                async with transport.stream(address, headers={}) as response:
                    await _write(response.aiter_bytes(), part)
                break
            except (Unreachable, ApiProblem) as error:
                if transport.is_final(error):
                    raise
                await patience.wait_after(error, at_least_seconds=asked_pause_seconds(error))
        await asyncio.to_thread(part.replace, path)
    except OSError as error:
        raise NotSaved(f"cannot write `{path}`: {error.strerror}") from error
    finally:
        with suppress(OSError):  # where it could not be written, it may be that it cannot be deleted either
            await asyncio.to_thread(part.unlink, missing_ok=True)


async def _write(steps: AsyncIterator[bytes], part: Path) -> None:
    with await asyncio.to_thread(part.open, "wb") as file:
        async for step in steps:
            await asyncio.to_thread(file.write, step)
