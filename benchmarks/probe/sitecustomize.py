"""Found first on a measured process's path, so that Python runs it before anything of Safelight.

`BENCH_PROBE` says what to write into `BENCH_PROBE_FOLDER`, one file per process, named after its id:

    imports   `{pid}.imports`   a line per module: the bytes of memory that running it added, its imports left out
    samples   `{pid}.samples`   a line per sample of processor time: the module whose Python code was running

It imports nothing that a Python process does not have anyway, and leaves every other process as it is.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

_SAMPLE_SECONDS = 0.002


def _meter_imports(path: str) -> None:
    """Every module passes `_load_unlocked` once; what is below it on the stack is taken off."""
    bootstrap: Any = sys.modules["_frozen_importlib"]
    load = bootstrap._load_unlocked
    nested: list[int] = []
    lines: list[str] = []

    def metered(spec: Any) -> Any:
        before = _anonymous_bytes()
        nested.append(0)
        try:
            return load(spec)
        finally:
            grown = _anonymous_bytes() - before
            lines.append(f"{spec.name}\t{grown - nested.pop()}\n")
            if nested:
                nested[-1] += grown
            else:
                with open(path, "a") as file:  # noqa: PTH123 - pathlib is no part of a bare interpreter
                    file.writelines(lines)
                lines.clear()

    bootstrap._load_unlocked = metered


def _anonymous_bytes() -> int:
    """What is this process's alone: the heap, not the libraries' files."""
    with open("/proc/self/smaps_rollup") as rollup:  # noqa: PTH123
        return next(1024 * int(line.split()[1]) for line in rollup if line.startswith("Anonymous:"))


def _sample_time(path: str) -> None:
    """The clock is processor time: a process that waits is not sampled. Code in C counts for whoever called it.

    A sample may come while another one is written, and what it raises, it raises in the measured code: so each is one
    call of the system, without a buffer between that two could be in at once.
    """
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def sample(_number: int, frame: Any) -> None:
        os.write(file, f"{frame.f_globals.get('__name__', '?')}\n".encode())

    signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, _SAMPLE_SECONDS, _SAMPLE_SECONDS)


_kind, _folder = os.environ.get("BENCH_PROBE"), os.environ.get("BENCH_PROBE_FOLDER")  # noqa: TID251
if _kind == "imports":
    _meter_imports(f"{_folder}/{os.getpid()}.imports")
elif _kind == "samples":
    _sample_time(f"{_folder}/{os.getpid()}.samples")
