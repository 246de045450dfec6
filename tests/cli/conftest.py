from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from safelight.cli.children import free_port
from safelight.settings import child_environment
from tests.cli.front_desk import FrontDesk, opened
from tests.fork_server import DEVNULL, PIPE, start

SOURCE = Path(__file__).resolve().parents[2] / "src"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a finished command left behind."""

    code: int
    out: str
    err: str


Safelight = Callable[..., Awaitable[Said]]


@pytest.fixture
async def desk() -> AsyncIterator[FrontDesk]:
    async with opened(FrontDesk()) as running:
        yield running


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nobody's settings, a home of this test's own, and an address where nothing listens."""
    kept = {
        name: value
        for name, value in child_environment({}).items()
        if not name.startswith("SAFELIGHT_") and not name.endswith("_API_KEY")
    }
    address = f"127.0.0.1:{free_port()}"
    return kept | {
        "PYTHONPATH": str(SOURCE),
        "SAFELIGHT_HOME": str(tmp_path / "home"),
        "SAFELIGHT_BIND": address,
        "SAFELIGHT_URL": f"http://{address}",
        "COLUMNS": "120",
    }


@pytest.fixture
def safelight(tmp_path: Path, environment: dict[str, str]) -> Safelight:
    """Runs `safelight WORDS` in the test's folder, as its own process, to its end."""

    async def run(*words: str, url: str | None = None) -> Said:
        process = await start(
            *words,
            cwd=tmp_path,
            env=environment | ({"SAFELIGHT_URL": url} if url else {}),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return Said(code=process.returncode, out=out.decode(), err=err.decode())

    return run
