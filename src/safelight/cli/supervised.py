"""The processes that `serve` looks after: started, started again when they end unasked, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)

_RESTART_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0)


class Child:
    """One process of `serve`, started again when it ends unasked. When it cannot begin for the way it is configured,
    all of them stop; once it has begun they do not, for the others still work."""

    def __init__(self, name: str, process: str, environment: dict[str, str], run_folder: Path) -> None:
        self._name = name
        self._command = (sys.executable, "-m", "safelight.cli.child", process)
        self._environment = environment
        self._pid_file = run_folder / f"{name}.pid"
        self._process: asyncio.subprocess.Process | None = None
        self.is_misconfigured = False

    async def keep_running(self, stopping: asyncio.Event) -> None:
        """Returns once `stopping` is set and the process has ended; sets it when the process is misconfigured."""
        failures = 0
        has_run = False
        while not stopping.is_set():
            loop = asyncio.get_running_loop()
            started_at = loop.time()
            try:
                code = await self._run(stopping)
            except OSError as error:  # no memory for another process, say
                log.error("a process cannot be started", name=self._name, error=type(error).__name__)
                code = None
            if code == os.EX_CONFIG and not has_run:
                self.is_misconfigured = True
                stopping.set()
            if stopping.is_set():
                return
            has_run = True
            failures = 0 if loop.time() - started_at > 30 else failures + 1
            pause = _RESTART_SECONDS[min(failures, len(_RESTART_SECONDS) - 1)]
            log.warning("process ended; starting it again", name=self._name, code=code, after_seconds=pause)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), pause)

    async def _run(self, stopping: asyncio.Event) -> int:
        """Its exit code, once it has ended. Raises OSError when there is no such process."""
        # A session of its own: the terminal's Ctrl-C is `serve`'s to pass on.
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environment, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        try:
            self._pid_file.write_text(f"{process.pid}\n")
        except OSError as error:
            log.warning("a pid file cannot be written", name=self._name, error=type(error).__name__)
        if stopping.is_set():  # told to stop while this one was being started
            self.signal(signal.SIGTERM)
        code = await process.wait()
        with contextlib.suppress(OSError):
            self._pid_file.unlink()
        return code

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


async def stop_all(children: Sequence[Child], kept: Collection[asyncio.Task[None]], drain_seconds: float) -> None:
    """Told to stop, and killed once they have had their time; `kept` are what keeps them running."""
    for child in children:
        child.signal(signal.SIGTERM)
    _, late = await asyncio.wait(kept, timeout=drain_seconds)
    if late:
        log.warning("some processes did not stop in time", count=len(late))
        for child in children:
            child.signal(signal.SIGKILL)
        await asyncio.wait(late)
