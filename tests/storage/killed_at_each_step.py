"""Runs a program again and again, killed before its first change to a folder, before its second, and so on.

The program is the body of `async def main(root)`; what a killed run has left is what a crash leaves.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

_PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path

steps_left = int(sys.argv[2])
armed = False

def before_each_change(event, args):
    global steps_left
    if not armed or event not in ("open", "os.mkdir", "os.link", "os.rename", "os.remove"):
        return
    if steps_left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    steps_left -= 1

sys.addaudithook(before_each_change)

{preamble}

async def main(root):
    global armed
    armed = True
{body}

asyncio.run(main(Path(sys.argv[1])))
"""


def killed_at_each_step(folder: Path, preamble: str, body: str) -> Iterator[tuple[Path, bool]]:
    """Yields (root, whether it ran to its end) for each run, each on a root of its own; the last one did."""
    program = _PROGRAM.format(preamble=textwrap.dedent(preamble), body=textwrap.indent(textwrap.dedent(body), "    "))
    for step in range(100):
        root = folder / str(step)
        status = subprocess.run(
            [sys.executable, "-c", program, str(root), str(step)],
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            check=False,
        ).returncode
        assert status in (0, -signal.SIGKILL)
        yield root, status == 0
        if status == 0:
            assert step > 0, "the program changed nothing"
            return
    raise AssertionError("the program does not come to an end")


_TRACE = """
def traced(name, function, describe):
    def call(*args, **kwargs):
        trace.append(name + " " + describe(*args))
        return function(*args, **kwargs)
    return call

def of_descriptor(fd):
    path = Path(os.readlink(f"/proc/self/fd/{fd}"))
    return "part" if path.name.endswith("~part") else str(path.relative_to(Path(sys.argv[1]).parent))

trace = []
os.fsync = traced("fsync", os.fsync, of_descriptor)
for name in ("rename", "link"):
    setattr(os, name, traced(name, getattr(os, name), lambda source, target: target))
os.unlink = traced("unlink", os.unlink, lambda name: "part" if name.endswith("~part") else name)
"""


def trace_of(root: Path, preamble: str, body: str) -> list[str]:
    """The syncs and changes of a program, in order; folders are told by their path from the root's parent."""
    program = _PROGRAM.format(
        preamble=_TRACE + textwrap.dedent(preamble),
        body=textwrap.indent(textwrap.dedent(body) + "\nprint(*trace, sep='\\n')", "    "),
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(root), "1000"],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    return run.stdout.splitlines()
