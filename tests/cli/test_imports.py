"""What stays in the memory of processes that live for months."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVE = "import safelight.cli.main, safelight.cli.processes"
SERVING = f"{SERVE}; safelight.cli.processes._complaining().__enter__()"  # as every process does when it starts
API = "import safelight.cli.child, safelight.wiring.api, safelight.api.server"
WORKER = "import safelight.cli.child, safelight.wiring.worker"
VENDORS = (
    "from safelight.settings import ProviderSettings, Settings; from safelight.wiring.parts import catalog_of; "
    "account = lambda kind: ProviderSettings(kind=kind, api_key='a-key'); "
    "catalog_of(Settings(providers={kind: account(kind) for kind in ('gemini', 'openai', 'replicate', 'fal')}))"
)
SDKS = {"google.genai", "openai", "replicate", "fal_client"}


@pytest.mark.parametrize(
    ("imports", "unneeded"),
    [
        (
            SERVE,
            {
                *("fastapi", "httpx2", "jinja2", "opentelemetry", "pgqueuer", "pyvips"),
                *("safelight.engine", "safelight.providers"),
            },
        ),
        (SERVING, {"fastapi", "httpx2", "jinja2", "opentelemetry", "pgqueuer", "pyvips", "safelight.engine"}),
        (
            WORKER,
            {"cryptography", "fastapi", "google.genai", "jinja2", "opentelemetry", "pyvips", "starlette", "typer"},
        ),
        (API, {"cryptography", "google.genai", "pyvips", "safelight.engine.queue.worker", "typer"}),
        (f"{API}; {VENDORS}", SDKS),
    ],
    ids=["serve", "serve at work", "worker", "api", "api with an account at every vendor"],
)
def test_a_process_loads_nothing_that_only_others_need(imports: str, unneeded: set[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", f"{imports}; import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert unneeded & set(shown.stdout.split()) == set()
