"""What each vendor can do to one call: the real adapter against the sandbox, whose bill is the witness."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from scenario import PICTURE, Scenario
from scenario_rows import ALL, SCENARIOS
from scenario_stage import play

from safelight.domain.errors import Billed
from safelight.domain.money import CostBasis
from safelight.sandbox.app import all_wires
from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.server import RunningSandbox, running_sandbox

DATE_SLACK_SECONDS = 2.0
"""A date has whole seconds, and so has the moment it is counted from."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningSandbox]:
    """One for all: a script counts for the calls with its own prompt."""
    bill_path = tmp_path_factory.mktemp("sandbox") / "bill.jsonl"
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=bill_path) as running:
        yield running


def named(row: Scenario) -> str:
    return f"{row.vendor}: {row.what}"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.filterwarnings("ignore:.* is not a valid FinishReason:UserWarning")  # the SDK's word for one of tomorrow
@pytest.mark.parametrize("row", SCENARIOS, ids=named)
async def test_the_vendor(row: Scenario, sandbox: RunningSandbox) -> None:
    played = await play(row, sandbox)

    assert (played.outcome, played.code) == (row.ending.outcome, row.code)
    assert (played.billed, played.scope) == (row.ending.billed, row.ending.scope)
    slack = DATE_SLACK_SECONDS if "429-date" in row.script else 0.0
    assert played.wait_seconds == pytest.approx(row.ending.wait_seconds, abs=slack)
    assert tuple(played.troubles) == row.troubles
    assert played.is_whole is (row.is_whole and row.ending.outcome == PICTURE)

    assert played.requests == row.requests, "one billable request, or none"
    assert (played.charged_microusd > 0) is row.ending.is_charged
    if row.ending.billed is Billed.UNKNOWN:
        assert played.ended.cost.basis is CostBasis.UNKNOWN
        assert played.estimate.microusd is not None
        assert played.charged_microusd <= played.estimate.microusd
    elif row.is_exact:
        assert played.ended.cost.microusd == played.charged_microusd, "to the micro-dollar"
    else:
        assert played.ended.cost.basis is CostBasis.TABLE
        assert played.ended.cost.microusd is not None
        assert played.ended.cost.microusd >= played.charged_microusd


def test_no_row_is_there_twice() -> None:
    rows = Counter(
        (row.vendor, row.script, row.place, str(row.asked), row.within_seconds, row.api_key) for row in SCENARIOS
    )
    assert [row for row, times in rows.items() if times > 1] == []
    assert [name for name, times in Counter(map(named, SCENARIOS)).items() if times > 1] == []


@pytest.mark.parametrize("vendor", ALL)
def test_every_fault_of_the_sandbox_has_its_row(vendor: str) -> None:
    [faults] = [wire.faults for wire in all_wires() if wire.name == vendor]
    played = {row.script.split()[0] for row in SCENARIOS if row.vendor == vendor and row.script}
    assert {fault.value for fault in faults} <= played
