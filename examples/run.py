"""`python examples/run.py sleuths`: an example app, with Safelight and the vendors' stand-in behind it, until Ctrl-C.

Nothing is bought: the pictures come from the sandbox. Everything is kept in `.demo-NAME/`, and there again next time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_READY_SECONDS = 90.0
_STOP_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_VENDOR_KEYS = ("GEMINI_API_KEY", "OPENAI_API_KEY", "REPLICATE_API_TOKEN", "FAL_KEY")


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """`python -m {module}`. The ports stay the same, so that addresses that were kept stay good; Safelight has the next
    one, and the sandbox the one after that."""

    title: str
    module: str
    port: int


APPS = {
    "sleuths": App(title="Armchair Sleuths", module="examples.armchair_sleuths", port=8500),
    "storyboard": App(title="Storyboard", module="examples.storyboard", port=8510),
    "studio": App(title="Product Studio", module="examples.product_studio", port=8520),
}


class Complaint(Exception):
    """What keeps the app from running, in words."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("app", choices=APPS)
    parser.add_argument("--home", type=Path, help="where everything is kept; default .demo-APP")
    asked = parser.parse_args()
    home: Path = (asked.home or ROOT / f".demo-{asked.app}").absolute()
    # Ctrl-C, or a supervisor's word; both end what runs here, in the reverse order of its start.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run(APPS[asked.app], home)
    except Complaint as complaint:
        print(f"error: {complaint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped")
    return 0


def run(app: App, home: Path) -> None:
    """Returns never: it is interrupted, or raises Complaint when something cannot start, or ends by itself."""
    app_url, safelight_url, sandbox_url = (f"http://127.0.0.1:{app.port + n}" for n in range(3))
    for url in (app_url, safelight_url, sandbox_url):
        _require_free(url)
    home.mkdir(parents=True, exist_ok=True)
    ours = {name: value for name, value in os.environ.items() if name not in _VENDOR_KEYS}  # noqa: TID251
    ours = {name: value for name, value in ours.items() if not name.startswith("SAFELIGHT_")}
    bill = str(home / "sandbox.jsonl")
    sandbox = ("safelight", "sandbox", "--port", str(app.port + 2), "--latency", "p50=1.5,p95=4", "--bill", bill)
    with ExitStack() as running:

        def started(name: str, *module: str, environment: Mapping[str, str], ready: str) -> subprocess.Popen[bytes]:
            log = home / f"{name}.log"
            process = running.enter_context(_process(*module, environment=environment, log=log))
            _wait_until_ready(process, ready, log)
            return process

        print(f"starting {app.title} with Safelight and its sandbox, in {home}", flush=True)
        parts = [
            started("sandbox", *sandbox, environment=ours, ready=f"{sandbox_url}/bill"),
            started(
                "safelight",
                *("safelight", "serve"),
                environment=ours
                | {
                    "SAFELIGHT_CONFIG": os.devnull,
                    "SAFELIGHT_HOME": str(home),
                    "SAFELIGHT_BIND": safelight_url.removeprefix("http://"),
                    "SAFELIGHT_PUBLIC_URL": safelight_url,
                    "SAFELIGHT_EGRESS_ALLOW": "http://127.0.0.0/8:*",  # webhooks to the app, on this machine
                    "SAFELIGHT_PROVIDERS__GEMINI__KIND": "gemini",
                    "SAFELIGHT_PROVIDERS__GEMINI__MODEL": "gemini-3.1-flash-lite-image",
                    "SAFELIGHT_PROVIDERS__GEMINI__BASE_URL": f"{sandbox_url}/gemini",
                    "SAFELIGHT_PROVIDERS__GEMINI__API_KEY": "sandbox-key",
                    "SAFELIGHT_PROVIDERS__OPENAI__KIND": "openai",  # who edits with a mask
                    "SAFELIGHT_PROVIDERS__OPENAI__BASE_URL": f"{sandbox_url}/openai/v1",
                    "SAFELIGHT_PROVIDERS__OPENAI__API_KEY": "sandbox-key",
                    "SAFELIGHT_DEFAULT_PROVIDER": "gemini",
                },
                ready=f"{safelight_url}/readyz",
            ),
        ]
        parts.append(
            started(
                "app",
                app.module,
                environment=dict(os.environ)  # noqa: TID251 - the app may have the keys that this shell has
                | {
                    "PORT": str(app.port),
                    "APP_URL": app_url,
                    "DATA_DIR": str(home / "app"),
                    "SAFELIGHT_URL": safelight_url,
                    "SAFELIGHT_WEBHOOK_SECRET": _new_secret(safelight_url),
                },
                ready=f"{app_url}/healthz",
            )
        )
        print(f"{app.title}: {app_url}   Safelight: {safelight_url}   (Ctrl-C stops all of it)", flush=True)
        while all(part.poll() is None for part in parts):
            time.sleep(_LOOK_SECONDS)
        raise Complaint(f"a process ended by itself; see the logs in {home}")


@contextmanager
def _process(*module: str, environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m MODULE` runs inside of the block, and is gone after it."""
    with log.open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # Ctrl-C is for this program, which stops the others in their order
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends_at = time.monotonic() + _READY_SECONDS
    while time.monotonic() < ends_at:
        if process.poll() is not None:
            raise Complaint(f"it ended while it started: {_last_words(log)} (see {log})")
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(_LOOK_SECONDS)
    raise Complaint(f"{url} does not answer; see {log}")


def _new_secret(safelight_url: str) -> str:
    """What Safelight signs its webhooks with from now on; the one before stays good for a day."""
    ask = urllib.request.Request(f"{safelight_url}/v1/webhooks/default/rotate-secret", method="POST")
    with urllib.request.urlopen(ask, timeout=30) as answer:
        return json.load(answer)["secret"]


def _require_free(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        socket.create_server((host, int(port))).close()
    except OSError as error:
        raise Complaint(f"port {port} is taken: does the app run already?") from error


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "without a word"


if __name__ == "__main__":
    sys.exit(main())
