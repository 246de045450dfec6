"""The page on the API names every event, option and field of what it explains, and its whole examples are requests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from safelight.api.schemas import NewJob, Options, ProviderGate
from safelight.domain.events import EventType

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
JOBS = [block for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if '"images"' in block]


def section(title: str) -> str:
    level = title.split()[0]
    return PAGE.partition(f"\n{title}\n")[2].partition(f"\n{level} ")[0]


@pytest.mark.parametrize("event", EventType)
def test_every_event_has_a_row(event: EventType) -> None:
    rows = [line.split("|")[1] for line in section("## Events").splitlines() if line.startswith("|")]
    assert sum(f"`{event}`" in row for row in rows) == 1


@pytest.mark.parametrize("option", Options.model_fields)
def test_every_option_of_an_image_has_a_row(option: str) -> None:
    rows = [line.split("|")[1] for line in section("## Who makes a picture").splitlines() if line.startswith("|")]
    assert sum(f"`{option}`" in row for row in rows) == 1


@pytest.mark.parametrize("field", sorted(ProviderGate.model_fields.keys() - {"state"}))
def test_every_field_of_a_gate_is_explained(field: str) -> None:
    assert re.search(rf"`{field}`|\b{field} null\b", section("## Providers"))


def test_a_whole_example_is_a_body_that_the_service_takes() -> None:
    assert len(JOBS) == 1
    assert [NewJob.model_validate(json.loads(block)).images for block in JOBS] != [[]]
