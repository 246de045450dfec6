"""`python -m tests.e2e.leash MODULE`: the module as a program, which ends when its standard input does.

Whoever starts it holds the other end and writes nothing: so no program that a test started outlives the run of tests,
however that ends.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _end_with(descriptor: int) -> None:
    while os.read(descriptor, 1024):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
