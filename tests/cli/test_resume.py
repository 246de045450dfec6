"""An interrupted `generate` goes on: the same job, nothing bought twice, every picture there. All of it real."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox
from tests.cli.conftest import Safelight
from tests.fork_server import DEVNULL, PIPE, start

CARDS = [f"card-{n}" for n in range(1, 7)]
FILE = "id,group,prompt\n" + "".join(f"{card},cards,A card with the number of {card}\n" for card in CARDS)


@pytest.fixture
async def vendor(tmp_path: Path) -> AsyncIterator[RunningSandbox]:
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=tmp_path / "bill.jsonl") as running:
        yield running


@pytest.mark.slow
async def test_after_an_interrupt_the_same_command_finishes_the_same_job_and_buys_nothing_twice(
    safelight: Safelight, environment: dict[str, str], vendor: RunningSandbox, tmp_path: Path
) -> None:
    environment |= {
        "SAFELIGHT_PROVIDERS__GEMINI__KIND": "gemini",
        "SAFELIGHT_PROVIDERS__GEMINI__BASE_URL": vendor.gemini_url(),
        "SAFELIGHT_PROVIDERS__GEMINI__MODEL": "gemini-3.1-flash-lite-image",
        "SAFELIGHT_PROVIDERS__GEMINI__API_KEY": "test-key",
        "SAFELIGHT_PROVIDERS__GEMINI__MAX_CONCURRENCY": "1",
    }
    (tmp_path / "cards.csv").write_text(FILE)
    process = await start(
        *("generate", "cards.csv", "-o", "out"),
        cwd=tmp_path,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    said: list[str] = []
    async with asyncio.timeout(90):
        while not (said and said[-1].startswith("completed cards/card-1 ")):
            said.append((await process.stdout.readline()).decode())
            assert said[-1], "it ended before the first picture"
        vendor.vendor.hold()
        # A call is on the wire while the interrupt falls, and answers while the private service stops.
        assert await vendor.vendor.wait_until(lambda: vendor.vendor.in_flight == 1, timeout_seconds=30)
        process.send_signal(signal.SIGINT)
        vendor.vendor.release()
        _, err = await process.communicate()
    assert process.returncode == 130
    assert b"run the same command again to go on" in err
    assert len(list((tmp_path / "out" / "cards").iterdir())) < len(CARDS)

    again = await safelight("generate", "cards.csv", "-o", "out")
    assert again.code == 0, again
    [first_job] = set(re.findall(r"job_\w{26}", "".join(said)))
    assert set(re.findall(r"job_\w{26}", again.out)) == {first_job}
    assert sorted(path.stem for path in (tmp_path / "out" / "cards").iterdir()) == CARDS
    assert len(vendor.vendor.calls) == len(CARDS)
    assert vendor.vendor.bill.charged_calls == len(CARDS)
