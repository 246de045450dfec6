"""`python -m safelight.chaos.vendors PORT BILL SEED`: the sandbox as a soak needs it, until its standard input closes.

Painting a picture takes a second of processor time, and a soak has none to spare: there are few of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

from safelight.chaos.plan import FAULT_RATES, LATENCY
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.faults import parse_fault_rates
from safelight.sandbox.latency import parse_latency
from safelight.sandbox.server import serve

_PICTURES = 2


def main(port: int, bill: Path, seed: int) -> None:
    config = SandboxConfig(
        latency=parse_latency(LATENCY),
        vendor_fault_rates={vendor: parse_fault_rates(rates) for vendor, rates in FAULT_RATES.items()},
        seed=seed,
        pictures=_PICTURES,
    )
    threading.Thread(target=_stop_when_alone, daemon=True).start()
    asyncio.run(serve(config, port=port, bill_path=bill, ready=lambda _: None))


def _stop_when_alone() -> None:
    """Whoever started this holds the other end of the pipe and never writes."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
