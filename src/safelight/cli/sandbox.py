"""`safelight sandbox`: the vendors' stand-in, on an address of its own until it is told to stop."""

from __future__ import annotations

import asyncio
from pathlib import Path

from safelight.cli.complaint import Complaint
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.faults import parse_fault_rates
from safelight.sandbox.latency import parse_latency
from safelight.sandbox.server import serve, vendor_urls


def sandbox(*, host: str, port: int, latency: str, fault_rate: str, seed: int, bill: Path) -> int:
    """Exit code 0 after SIGINT or SIGTERM. Raises Complaint for a senseless option and a taken port."""
    try:
        config = SandboxConfig(latency=parse_latency(latency), fault_rates=parse_fault_rates(fault_rate), seed=seed)
    except ValueError as error:
        raise Complaint(str(error)) from error

    def ready(bound_port: int) -> None:
        base_url = f"http://{host}:{bound_port}"
        for vendor, url in vendor_urls(base_url).items():
            print(f"sandbox: {vendor} at {url}")
        print(f"sandbox: its bill at {base_url}/bill and in {bill}", flush=True)

    try:
        asyncio.run(serve(config, host=host, port=port, bill_path=bill, ready=ready))
    except OSError as error:
        raise Complaint(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    except ValueError as error:
        raise Complaint(str(error)) from error
    return 0
