"""`python -m safelight.cli.tether COMMAND …`: the command line, told to stop when its standard input closes.

Whoever starts it holds the other end of that pipe and never writes. However the starter ends, the kernel
closes the pipe, so no process started this way outlives it for longer than it takes to stop.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from safelight.cli.main import main


def _stop_with(descriptor: int) -> None:
    while os.read(descriptor, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_stop_with, args=(sys.stdin.fileno(),), daemon=True).start()
    main()
