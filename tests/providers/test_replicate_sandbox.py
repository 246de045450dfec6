"""The Replicate adapter buys at the sandbox, whose bill is the witness of what it books."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from remote_sandbox import purchase
from remote_wire import config

from safelight.domain.errors import Billed
from safelight.providers.provider import ImageResult
from safelight.providers.replicate import ReplicateProvider
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox

pytestmark = pytest.mark.slow  # the scenario matrix meets the same through the adapters

MODEL = "black-forest-labs/flux-dev"


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=tmp_path / "bill.jsonl") as running:
        yield running


@pytest.fixture
async def replicate(sandbox: RunningSandbox) -> AsyncIterator[ReplicateProvider]:
    provider = ReplicateProvider.from_config("replicate", config(sandbox.url("replicate")))
    yield provider
    await provider.aclose()


@pytest.mark.parametrize(
    ("script", "outcome", "troubles"),
    [
        ("ok", "picture", []),
        ("extra-picture", "picture", []),
        ("same-twice", "picture", []),
        ("no-usage", "picture", []),
        ("data-uri", "picture", []),
        ("foreign-urls", "picture", []),
        ("internal-url", "OUTPUT_URL_REFUSED", []),
        ("no-pictures", "EMPTY_OUTPUT", []),
        ("refuse", "FLAGGED", []),
        ("refuse-prompt", "FLAGGED", []),
        ("failed", "FAILED", []),
        ("aborted", "ABORTED", []),
        ("429 3", "HTTP_429", []),
        ("503", "HTTP_503", []),
        ("no-credit", "NO_CREDIT", []),
        ("bad-key", "HTTP_401", []),
        ("poll 502 x2", "picture", ["HTTP_502", "HTTP_502"]),
        ("poll cut x1", "picture", ["CONNECTION_LOST"]),
        ("result bad-key x1", "picture", ["HTTP_401"]),
        ("file 503 x1", "picture", ["OUTPUT_UNREACHABLE"]),
        ("file 404", "OUTPUT_GONE", []),
    ],
)
async def test_what_is_booked_is_what_the_vendor_charges(
    sandbox: RunningSandbox, replicate: ReplicateProvider, script: str, outcome: str, troubles: list[str]
) -> None:
    bought = await purchase(replicate, sandbox, model=MODEL, script=script)

    assert (bought.outcome, bought.troubles) == (outcome, troubles)
    assert bought.booked_microusd == bought.charged_microusd


@pytest.mark.parametrize("script", ["canceled", "no-id", "cut", "504", "poll 404"])
async def test_what_may_have_been_charged_is_booked_as_unknown(
    sandbox: RunningSandbox, replicate: ReplicateProvider, script: str
) -> None:
    bought = await purchase(replicate, sandbox, model=MODEL, script=script)

    assert not isinstance(bought.ended, ImageResult)
    assert (bought.ended.billed, bought.booked_microusd) == (Billed.UNKNOWN, None)
