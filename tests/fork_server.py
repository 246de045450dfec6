"""Commands of Safelight as processes of their own, which have their imports behind them.

A fresh interpreter takes more than a second to import what a worker or an API needs, and crash tests start hundreds of
them. So a server imports it once, and each start is a fork of it: a real process, with its own pid, environment,
folder, signals and file descriptors. The server ends with the process that asked for it, and takes what it started
along. What a start by `python -m safelight` does itself is tested by those tests that do so.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import json
import os
import random
import resource
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

PIPE = asyncio.subprocess.PIPE
DEVNULL = asyncio.subprocess.DEVNULL

_ROOT = Path(__file__).resolve().parents[1]
_MOST_BYTES = 1_000_000
_PRELOADED = (
    "google.genai",
    "openai",
    "safelight.api.app",
    "safelight.api.server",
    "safelight.cli.main",
    "safelight.cli.processes",
    "safelight.client",
    "safelight.dashboard.app",
    "safelight.engine.queue.worker",
    "safelight.providers.fal",
    "safelight.providers.gemini",
    "safelight.providers.openai",
    "safelight.providers.placeholder",
    "safelight.providers.replicate",
    "safelight.wiring.api",
    "safelight.wiring.worker",
    "uvicorn",
    "uvloop",
)


@dataclass(slots=True)
class Process:
    """A process that was started here; the part of `asyncio.subprocess.Process` that tests use."""

    pid: int
    returncode: int | None
    stdin: asyncio.StreamWriter | None
    stdout: asyncio.StreamReader | None
    stderr: asyncio.StreamReader | None
    _ended: asyncio.Task[None] | None = None

    async def wait(self) -> int:
        assert self._ended is not None
        await asyncio.shield(self._ended)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def communicate(self, data: bytes | None = None) -> tuple[bytes, bytes]:
        if self.stdin is not None:
            with suppress(ConnectionError):
                self.stdin.write(data or b"")
                await self.stdin.drain()
            self.stdin.close()
        out, err = await asyncio.gather(_whole(self.stdout), _whole(self.stderr))
        await self.wait()
        return out, err

    async def _follow(self, server: asyncio.StreamReader, line: asyncio.StreamWriter) -> None:
        status = await server.read(4)
        line.close()
        assert len(status) == 4, "the fork server has gone"
        self.returncode = struct.unpack("!i", status)[0]


async def start(
    *words: str,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    max_file_bytes: int | None = None,
) -> Process:
    """`safelight WORDS` runs. Streams are descriptors, PIPE or DEVNULL; None is this process's own. `max_file_bytes` is
    the size beyond which its disk refuses a file."""
    line = socket.socket(socket.AF_UNIX)
    await asyncio.to_thread(line.connect, _server())
    ours, theirs = _streams(stdin, stdout, stderr)
    wish = {"words": words, "env": dict(env), "cwd": str(cwd or Path.cwd()), "max_file_bytes": max_file_bytes}
    data = json.dumps(wish).encode()
    socket.send_fds(line, [struct.pack("!I", len(data)) + data[:1000]], theirs)
    line.sendall(data[1000:])
    for each in theirs:
        os.close(each)
    server, writer = await asyncio.open_unix_connection(sock=line, limit=100)
    (pid,) = struct.unpack("!i", await server.readexactly(4))
    loop = asyncio.get_running_loop()
    process = Process(pid, None, None, None, None)
    if ours[0] is not None:
        transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(ours[0], "wb"))
        process.stdin = asyncio.StreamWriter(transport, protocol, None, loop)
    process.stdout, process.stderr = [await _reader(each) for each in ours[1:]]
    process._ended = asyncio.create_task(process._follow(server, writer))
    return process


def _streams(*wanted: int | None) -> tuple[list[int | None], list[int]]:
    """Ends of pipes that stay here, and what the process gets for its own three."""
    ours: list[int | None] = []
    theirs: list[int] = []
    for number, each in enumerate(wanted):
        kept = None
        if each == PIPE:
            reading, writing = os.pipe()
            kept, given = (writing, reading) if number == 0 else (reading, writing)
        elif each == DEVNULL:
            given = os.open(os.devnull, os.O_RDWR)
        elif each == asyncio.subprocess.STDOUT:
            given = os.dup(theirs[1])
        else:
            given = os.dup(number if each is None else each)
        ours.append(kept)
        theirs.append(given)
    return ours, theirs


async def _reader(descriptor: int | None) -> asyncio.StreamReader | None:
    if descriptor is None:
        return None
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(descriptor, "rb"))
    return reader


async def _whole(stream: asyncio.StreamReader | None) -> bytes:
    return await stream.read() if stream is not None else b""


@cache
def _server() -> str:
    """The address of this process's server, which is started when it is first asked for."""
    address = str(Path(tempfile.mkdtemp(prefix="safelight-fork-")) / "socket")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}  # noqa: TID251
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fork_server", address],
        cwd=_ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    atexit.register(_end, process)
    return address


def _end(process: subprocess.Popen[bytes]) -> None:
    """With its standard input closed it goes, and takes along what it has started."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()


def _serve(address: str) -> None:
    """Starts what is asked for until standard input is closed. In a started process it returns, to run there."""
    for name in _PRELOADED:
        __import__(name)
    gc.freeze()  # what is imported is never looked at again, so that its memory stays shared
    assert threading.active_count() == 1, "a fork has no thread but the one that forks"
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(address)
        listener.listen(100)
        woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for each in (listener, sys.stdin, woken):
            selector.register(each, selectors.EVENT_READ)
        children: dict[int, socket.socket] = {}
        print("ready", flush=True)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if sys.stdin in ready:
                for pid in children:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                Path(address).unlink()
                Path(address).parent.rmdir()
                os._exit(0)
            if woken in ready:
                woken.recv(4096)
                _tell_ends(children)
            if listener in ready:
                line, _ = listener.accept()
                wish, descriptors = _wish(line)
                pid = os.fork()
                if pid == 0:
                    for each in (line, woken, waker, *children.values()):
                        each.close()
                    _become(wish, descriptors)
                    return
                for each in descriptors:
                    os.close(each)
                children[pid] = line
                line.sendall(struct.pack("!i", pid))


def _tell_ends(children: dict[int, socket.socket]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with children.pop(pid) as line, suppress(OSError):
            line.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))


def _wish(line: socket.socket) -> tuple[dict[str, object], list[int]]:
    data, descriptors, _, _ = socket.recv_fds(line, 1004, 3)
    (length,) = struct.unpack("!I", data[:4])
    assert length < _MOST_BYTES
    while len(data) < 4 + length:
        data += line.recv(4 + length - len(data))
    return json.loads(data[4:]), descriptors


def _become(wish: dict[str, object], descriptors: list[int]) -> None:
    """This process is as if `safelight` had been started in it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if (limit := wish["max_file_bytes"]) is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # pyright: ignore[reportArgumentType]
    for number, each in enumerate(descriptors):
        os.dup2(each, number)
        os.close(each)
    os.environ.clear()  # noqa: TID251
    os.environ.update(wish["env"])  # noqa: TID251 # pyright: ignore[reportCallIssue, reportArgumentType]
    os.chdir(str(wish["cwd"]))
    random.seed()
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    sys.argv = ["safelight", *wish["words"]]  # pyright: ignore[reportGeneralTypeIssues]
    sys.path[0] = os.getcwd()  # noqa: PTH109


def _run() -> NoReturn:
    """The command, to its end as Python has it; but its modules are not taken apart, which takes as long as importing
    them."""
    from safelight.cli.main import main

    code: object = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
    atexit._run_exitfuncs()
    if isinstance(code, str):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve(sys.argv[1])
    _run()
