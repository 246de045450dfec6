"""Pixels are decoded in child processes, so that a hostile or broken picture can only take a child with it.

A child serves one picture at a time and is kept for the next. When a call on it ends in any other way than
with a whole answer, it is killed: no later call can read what was meant for an earlier one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TypeVar

from safelight.imaging import frame
from safelight.imaging.rendition import (
    ChildDied,
    Cleaned,
    NoChild,
    NotAnImage,
    Original,
    Rendered,
    Rendition,
    Verified,
    kept,
)

T = TypeVar("T")

MAX_INPUT_BYTES = 64 << 20

_ENVIRONMENT = {
    "VIPS_CONCURRENCY": "1",
    # One picture's memory is used for the next instead of being given back and asked for anew, page by page; that of
    # a very large one is given back. Where malloc is not glibc's, this says nothing.
    "MALLOC_MMAP_THRESHOLD_": str(16 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}


class RenderPool:
    """At most `processes` pictures at once; more callers wait their turn.

    Children start with the first call that needs one and are replaced after `jobs_per_child` pictures.
    `timeout_seconds` is one call's total, the start of a child included and the wait for a free one not.
    """

    def __init__(self, *, processes: int = 1, timeout_seconds: float = 30.0, jobs_per_child: int = 5_000) -> None:
        self._processes = processes
        self._timeout_seconds = timeout_seconds
        self._jobs_per_child = jobs_per_child
        self._closed = False
        self._idle: asyncio.LifoQueue[_Child | None] = asyncio.LifoQueue()
        for _ in range(processes):
            self._idle.put_nowait(None)
        self._reaping: set[asyncio.Task[int]] = set()

    async def verify(self, data: bytes) -> Verified:
        """Decodes every row. Raises NotAnImage, ChildDied."""
        verified, _ = await self.examine(data)
        return verified

    async def render(self, data: bytes, outputs: Sequence[Rendition | Original]) -> tuple[Verified, list[Rendered]]:
        """Verifies, and makes every rendition from one decode; outputs in order. Raises NotAnImage, ChildDied."""
        return await self.examine(data, outputs)

    async def examine(
        self, data: bytes, outputs: Sequence[Rendition | Original] = ()
    ) -> tuple[Verified, list[Rendered]]:
        """Both of the above. Raises NotAnImage, which is final, and ChildDied. Cancelling kills the child."""
        wanted = [asdict(each) for each in outputs if isinstance(each, Rendition)]
        verified, rendered = await self._ask({"renditions": wanted}, data, _examined)
        made = iter(rendered)
        return verified, [kept(each, data, verified) if isinstance(each, Original) else next(made) for each in outputs]

    async def clean(self, data: bytes) -> Cleaned:
        """The same picture, written anew. Raises NotAnImage, which is final, and ChildDied."""
        return await self._ask({"clean": True}, data, _cleaned)

    async def aclose(self) -> None:
        """Waits for pictures being rendered, refuses those still waiting, and leaves no process behind."""
        self._closed = True
        children = [await self._idle.get() for _ in range(self._processes)]
        for child in children:
            if child is not None:
                self._reap(child)
            self._idle.put_nowait(None)
        await asyncio.gather(*self._reaping)

    async def _ask(self, question: dict[str, Any], data: bytes, read: Callable[[dict[str, Any], bytes], T]) -> T:
        if len(data) > MAX_INPUT_BYTES:
            raise NotAnImage("too-large", f"{len(data)} bytes is more than {MAX_INPUT_BYTES >> 20} MiB")
        child = await self._idle.get()
        keep = None
        try:
            if self._closed:
                raise RuntimeError("the render pool is closed")
            async with asyncio.timeout(self._timeout_seconds):
                if child is not None and not child.alive:
                    self._reap(child)
                    child = None
                if child is None:
                    child = await _Child.start()
                answer = await child.ask(question, data, read)
            if child.jobs_done < self._jobs_per_child:
                keep = child
        except TimeoutError as error:
            if child is None:
                raise NoChild(f"the rendering process did not start within {self._timeout_seconds:g} s") from error
            raise ChildDied(f"the picture took longer than {self._timeout_seconds:g} s") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            if child is None:
                raise NoChild("the rendering process could not be started") from error
            raise ChildDied(f"the rendering process died: {await child.end()}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ChildDied("the rendering process gave an answer that makes no sense") from error
        finally:
            if child is not None and keep is None:
                self._reap(child)
            self._idle.put_nowait(keep)
        if not isinstance(answer, NotAnImage):
            return answer
        try:
            raise answer
        finally:
            del answer  # it leads back to this frame: the picture would stay in memory until a full collection

    def _reap(self, child: _Child) -> None:
        child.kill()
        task = asyncio.create_task(child.wait())
        self._reaping.add(task)
        task.add_done_callback(self._reaping.discard)


class _Child:
    """One process and its two pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self.jobs_done = 0

    @classmethod
    async def start(cls) -> _Child:
        # Our environment is not handed on: it may hold vendors' keys. A session of its own keeps the
        # terminal's Ctrl-C away.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "safelight.imaging.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **_ENVIRONMENT},
            start_new_session=True,
        )
        return cls(process)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(
        self, question: dict[str, Any], data: bytes, read: Callable[[dict[str, Any], bytes], T]
    ) -> T | NotAnImage:
        self._stdin.writelines(frame.encode(question, data))
        await self._stdin.drain()
        header, body = await frame.receive(self._stdout)
        self.jobs_done += 1
        if "refused" in header:
            return NotAnImage(**header["refused"])
        return read(header, body)

    def kill(self) -> None:
        if self.alive:
            # Not `Process.kill`: it polls first, and so takes a dead child's status away from whoever waits for it.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
        self._stdin.close()

    async def wait(self) -> int:
        return await self._process.wait()

    async def end(self) -> str:
        """How a child whose pipe broke has ended, for people."""
        self.kill()
        status = await self.wait()
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _examined(header: dict[str, Any], body: bytes) -> tuple[Verified, list[Rendered]]:
    return Verified(**header["verified"]), _split(header["rendered"], body)


def _cleaned(header: dict[str, Any], body: bytes) -> Cleaned:
    return Cleaned(**header["cleaned"], data=body)


def _split(outputs: list[dict[str, Any]], body: bytes) -> list[Rendered]:
    rendered: list[Rendered] = []
    start = 0
    for output in outputs:
        end = start + output.pop("length")
        rendered.append(Rendered(**output, data=body[start:end]))
        start = end
    return rendered
