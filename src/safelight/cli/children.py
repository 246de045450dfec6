"""Processes of Safelight's own, started for a while by a command, and gone when it is (see `tether`)."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

from safelight.cli.complaint import Complaint, unusable

_POLL_SECONDS = 0.05
_READY_SECONDS = 90.0
_LOG_LINES_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running process. What it says is appended to `log_path`."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def last_words(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines()
        return " / ".join(line.strip() for line in lines[-_LOG_LINES_SHOWN:] if line.strip())


@asynccontextmanager
async def running(
    name: str,
    *arguments: str,
    log_path: Path,
    environment: Mapping[str, str],
    stop_seconds: float,
    lock: int = -1,
) -> AsyncIterator[Child]:
    """`safelight ARGUMENTS` runs inside of the block and is gone after it.

    Leaving asks it to stop with SIGTERM; after `stop_seconds`, or when cancelled while waiting, it is killed
    with what it started. The child holds `lock`, a descriptor, open for as long as it lives.
    """
    _make(log_path.parent)
    with log_path.open("ab") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - the fork is short, and its end is awaited by polling
            [sys.executable, "-m", "safelight.cli.tether", *arguments],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=(lock,) if lock >= 0 else (),
            # Ctrl-C at the terminal is for the command alone; it stops its children in their order.
            start_new_session=True,
        )
    try:
        yield Child(name=name, process=process, log_path=log_path)
    finally:
        await _stop(process, stop_seconds=stop_seconds)


async def until_ready(child: Child, url: str) -> None:
    """The child answers `url` with a success. Raises Complaint when it ends first, or after 90 seconds."""
    ends_at = time.monotonic() + _READY_SECONDS
    async with httpx2.AsyncClient(timeout=5, trust_env=False) as http:
        while time.monotonic() < ends_at:
            if child.process.poll() is not None:
                raise Complaint(f"the {child.name} process ended: {child.last_words or 'without a word'}")
            with suppress(httpx2.TransportError):
                if (await http.get(url)).is_success:
                    return
            await asyncio.sleep(_POLL_SECONDS)
    raise Complaint(f"the {child.name} process does not get ready; see {child.log_path}")


@asynccontextmanager
async def sole_user(path: Path, *, patience_seconds: float) -> AsyncIterator[int]:
    """The lock on `path`, ours and our children's. Raises Complaint when others do not let go in time."""
    _make(path.parent)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        ends_at = time.monotonic() + patience_seconds
        while not _locked(lock):
            if time.monotonic() > ends_at:
                raise Complaint(f"`{path.parent.parent}` is in use by another run; wait for it, or use another --home")
            await asyncio.sleep(_POLL_SECONDS)
        yield lock
    finally:
        os.close(lock)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


async def _stop(process: subprocess.Popen[bytes], *, stop_seconds: float) -> None:
    assert process.stdin is not None, "it was started with a pipe"
    ends_at = time.monotonic() + stop_seconds
    try:
        process.terminate()
        while process.poll() is None and time.monotonic() < ends_at:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        if process.poll() is None or process.returncode < 0:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()


def _make(folder: Path) -> None:
    """The folder is there. Raises Complaint."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(error) from error


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
