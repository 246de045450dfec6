"""Runs a command's coroutine so that a person or a supervisor can stop it, and it can clean up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any


def run(command: Coroutine[Any, Any, int]) -> int:
    """The command's exit code. SIGINT, SIGTERM and SIGHUP cancel it once and let it clean up; then it raises
    KeyboardInterrupt. A second SIGINT does not wait for that."""

    async def stoppable() -> int:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        return await command

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
