"""Example apps, end to end: real processes, real HTTP between them, and the sandbox as vendor.

`service` is one `safelight serve` for a module's tests: `service.http` (a client of it), `service.sandbox.vendor`
(what was bought), `service.kill()`, `.stop()`, `.start()`. `start_app("armchair_sleuths", CASES="…")` starts
`python -m examples.armchair_sleuths` and returns once its `GET /healthz` is 200: a `Program` with `app.http`,
`.kill()`, `.stop()` and `.start()`, which keeps its port and its data. An app finds in its environment what is given,
and `PORT`, `APP_URL` (its own address, for webhooks), `DATA_DIR` (a folder of its own, which it makes), `SAFELIGHT_URL`
and `SAFELIGHT_WEBHOOK_SECRET`. `eventually(look)` of `tests.e2e.service` waits for what other processes do; what they
said is shown with a test that fails. A prompt may hold `[[sandbox: refuse IMAGE_SAFETY]]` and the like; the provider
`locked-out` has a key that no vendor takes. An app costs a second of processor time: share one by a module's fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.e2e.service import Program, Service, app_of, running_service


class StartApp(Protocol):
    def __call__(self, name: str, **environment: str) -> Program: ...


@pytest.fixture(scope="module")
def programs() -> list[Program]:
    """Those of the module; what they say is told after each test."""
    return []


@pytest.fixture(scope="module")
def service(postgres: str, tmp_path_factory: pytest.TempPathFactory, programs: list[Program]) -> Iterator[Service]:
    with running_service(postgres, tmp_path_factory.mktemp("service")) as service:
        programs.append(service)
        yield service


@pytest.fixture(scope="module")
def start_app(
    service: Service, tmp_path_factory: pytest.TempPathFactory, programs: list[Program]
) -> Iterator[StartApp]:
    """Starts apps, which are gone when the module's tests are over."""
    started: list[Program] = []

    def start(name: str, **environment: str) -> Program:
        folder = tmp_path_factory.mktemp(name)
        app = app_of(service, f"examples.{name}", folder=Path(folder), environment=environment)
        programs.append(app)
        started.append(app)
        app.start()
        return app

    yield start
    for app in started:
        app.stop()
        app.http.close()


@pytest.fixture(autouse=True)
def _tell_what_they_said(programs: list[Program]) -> Iterator[None]:
    yield
    for program in programs:
        if news := program.news():
            print(f"--- {program.module[-1]} at {program.url}\n{news}")
