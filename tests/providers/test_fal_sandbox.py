"""The Fal adapter buys at the sandbox, whose bill is the witness of what it books."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from remote_sandbox import purchase
from remote_wire import config

from safelight.domain.errors import Billed
from safelight.providers.fal import FalProvider
from safelight.providers.provider import ImageResult
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox

pytestmark = pytest.mark.slow  # the scenario matrix meets the same through the adapters

MODEL = "fal-ai/flux/dev"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=tmp_path / "bill.jsonl") as running:
        yield running


@pytest.fixture
async def fal(sandbox: RunningSandbox) -> AsyncIterator[FalProvider]:
    provider = FalProvider.from_config("fal", config(sandbox.url("fal")))
    yield provider
    await provider.aclose()


@pytest.mark.parametrize(
    ("script", "outcome", "troubles"),
    [
        ("ok", "picture", []),
        ("extra-picture", "picture", []),
        ("no-usage", "picture", []),
        ("data-uri", "picture", []),
        ("foreign-urls", "picture", []),
        ("no-body", "picture", []),
        ("internal-url", "OUTPUT_URL_REFUSED", []),
        ("nsfw", "NSFW", []),
        ("no-pictures", "EMPTY_ANSWER", []),
        ("failed RUNNER_DISCONNECTED", "RUNNER_DISCONNECTED", []),
        ("failed GENERATION_TIMEOUT", "GENERATION_TIMEOUT", []),
        ("aborted", "REQUEST_TIMEOUT", []),
        ("429 3", "HTTP_429", []),
        ("502", "HTTP_502", []),
        ("no-credit", "NO_CREDIT", []),
        ("bad-key", "HTTP_401", []),
        ("poll 500 x2", "picture", ["HTTP_500", "HTTP_500"]),
        ("result 500 x1", "picture", ["HTTP_500"]),
        ("result reset x1", "picture", ["CONNECTION_LOST"]),
        ("file 503 x1", "picture", ["OUTPUT_UNREACHABLE"]),
        ("file 404", "OUTPUT_GONE", []),
    ],
)
async def test_what_is_booked_is_what_the_vendor_charges(
    sandbox: RunningSandbox, fal: FalProvider, script: str, outcome: str, troubles: list[str]
) -> None:
    bought = await purchase(fal, sandbox, model=MODEL, script=script)

    assert (bought.outcome, bought.troubles) == (outcome, troubles)
    assert bought.booked_microusd == bought.charged_microusd


@pytest.mark.parametrize(
    "script", ["canceled", "no-id", "cut", "504", "refuse", "failed NO_MEDIA_GENERATED", "poll 404"]
)
async def test_what_may_have_been_charged_is_booked_as_unknown(
    sandbox: RunningSandbox, fal: FalProvider, script: str
) -> None:
    bought = await purchase(fal, sandbox, model=MODEL, script=script)

    assert not isinstance(bought.ended, ImageResult)
    assert (bought.ended.billed, bought.booked_microusd) == (Billed.UNKNOWN, None)
