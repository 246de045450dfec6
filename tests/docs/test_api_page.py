"""The page on the API names every event, option and field of what it explains, and its whole examples are requests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from safelight.api.schemas import (
    Attempt,
    GroupFigures,
    Job,
    JobsQuery,
    JobSummary,
    NewJob,
    NewSchedule,
    NewStyle,
    OrderedOutput,
    Popular,
    ProviderGate,
    ProviderHealth,
    ProviderQueue,
    Queue,
    Quote,
    Recipe,
    RecipeGroup,
    ScheduleRun,
    StatsCost,
    StatsQuery,
    Style,
    TokenUsage,
    Upload,
)
from safelight.api.schemas.alerts import Alert, Alerts
from safelight.api.schemas.submission import StyledOptions
from safelight.domain.events import EventType
from safelight.domain.lifecycle import ImageStatus
from safelight.domain.recipe import example_subjects, parse_recipe, render_recipe
from safelight.domain.style import built_in_styles
from safelight.engine.image.outcome import without_reference

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
JOBS = [block for block in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if '"images"' in block]


def section(title: str) -> str:
    level = title.split()[0]
    return PAGE.partition(f"\n{title}\n")[2].partition(f"\n{level} ")[0]


@pytest.mark.parametrize("event", EventType)
def test_every_event_has_a_row(event: EventType) -> None:
    rows = [line.split("|")[1] for line in section("## Events").splitlines() if line.startswith("|")]
    assert sum(f"`{event}`" in row for row in rows) == 1


@pytest.mark.parametrize("option", StyledOptions.model_fields)
def test_every_option_of_an_image_has_a_row(option: str) -> None:
    rows = [line.split("|")[1] for line in section("## Who makes a picture").splitlines() if line.startswith("|")]
    assert sum(f"`{option}`" in row for row in rows) == 1


@pytest.mark.parametrize("field", Attempt.model_fields)
def test_every_field_of_a_call_is_explained(field: str) -> None:
    assert f"`{field}`" in section("## Single calls")


@pytest.mark.parametrize("field", OrderedOutput.model_fields)
def test_every_field_of_an_output_is_explained(field: str) -> None:
    assert f"`{field}`" in section("## Outputs")


@pytest.mark.parametrize("field", Upload.model_fields)
def test_every_field_of_an_upload_is_explained(field: str) -> None:
    assert f"`{field}`" in section("### Pictures of your own")


@pytest.mark.parametrize("field", sorted(ProviderGate.model_fields.keys() - {"state"}))
def test_every_field_of_a_gate_is_explained(field: str) -> None:
    assert re.search(rf"`{field}`|\b{field} null\b", section("## Providers"))


@pytest.mark.parametrize("field", sorted(Queue.model_fields.keys() | ProviderQueue.model_fields.keys()))
def test_every_figure_of_the_queue_is_explained(field: str) -> None:
    assert f"`{field}`" in section("## The queue")


@pytest.mark.parametrize(
    "field", sorted(Job.model_fields.keys() - JobSummary.model_fields.keys() - {"images", "outputs"})
)
def test_every_forecast_of_a_job_is_explained(field: str) -> None:
    assert f"`{field}`" in section("### How long it may take")


def test_a_whole_example_is_a_body_that_the_service_takes() -> None:
    assert len(JOBS) >= 2
    assert [NewJob.model_validate(json.loads(block)).images for block in JOBS] != [[]]


@pytest.mark.parametrize("field", sorted(Alert.model_fields.keys() | Alerts.model_fields.keys()))
def test_every_field_of_an_alert_is_explained(field: str) -> None:
    assert f"`{field}`" in section("## Alerts")


@pytest.mark.parametrize("field", sorted(Quote.model_fields))
def test_every_field_of_a_quote_is_explained(field: str) -> None:
    assert f"`{field}`" in section("## What it would cost")


@pytest.mark.parametrize("name", sorted(JobsQuery.model_fields))
def test_every_filter_of_a_list_has_a_row(name: str) -> None:
    rows = [line.split("|")[1] for line in section("## Finding earlier jobs").splitlines() if line.startswith("|")]
    assert sum(f"`{name}`" in row for row in rows) == 1


@pytest.mark.parametrize("name", sorted(each.alias or name for name, each in StatsQuery.model_fields.items()))
def test_every_parameter_of_statistics_has_a_row(name: str) -> None:
    rows = [line.split("|")[1] for line in section("## Statistics").splitlines() if line.startswith("|")]
    assert sum(f"`{name}`" in row for row in rows) == 1


@pytest.mark.parametrize(
    "field",
    sorted(
        {*GroupFigures.model_fields, *StatsCost.model_fields, *TokenUsage.model_fields, *Popular.model_fields, "is_cut"}
    ),
)
def test_every_figure_of_statistics_is_explained(field: str) -> None:
    assert f"`{field}`" in section("## Statistics")


@pytest.mark.parametrize("field", sorted(NewSchedule.model_fields.keys() | ScheduleRun.model_fields.keys()))
def test_every_field_of_a_schedule_and_of_its_runs_is_explained(field: str) -> None:
    assert f"`{field}`" in section("## Schedules")


def test_the_example_of_a_schedule_is_one_that_the_service_takes() -> None:
    [block] = re.findall(r"^```json\n(.*?)^```$", section("## Schedules"), re.MULTILINE | re.DOTALL)
    assert NewJob.model_validate(NewSchedule.model_validate(json.loads(block)).job).recipe == "mystery-case"


@pytest.mark.parametrize("field", sorted(NewStyle.model_fields.keys() | Style.model_fields.keys() - {"name"}))
def test_every_field_of_a_style_is_explained(field: str) -> None:
    assert f"`{field}`" in section("## Styles")


def test_the_example_of_a_style_is_one_that_the_service_takes_and_the_built_in_ones_are_named() -> None:
    [block] = re.findall(r"^```json\n(.*?)^```$", section("## Styles"), re.MULTILINE | re.DOTALL)
    assert NewStyle.model_validate(json.loads(block)).model_fields_set == NewStyle.model_fields.keys()
    assert all(f"`{name}`" in section("## Styles") for name in built_in_styles())


@pytest.mark.parametrize(
    "field", sorted((Recipe.model_fields.keys() | RecipeGroup.model_fields.keys()) - {"name", "description"})
)
def test_every_field_of_a_recipe_is_explained(field: str) -> None:
    assert f"`{field}`" in section("## Recipes")


def test_the_example_of_a_recipe_is_one() -> None:
    [block] = re.findall(r"^```toml\n(.*?)^```$", section("## Recipes"), re.MULTILINE | re.DOTALL)
    recipe = parse_recipe(block, source="docs/api.md")
    [image] = render_recipe(recipe, example_subjects(recipe))
    assert image.options["style"] in built_in_styles()


@pytest.mark.parametrize("field", ProviderHealth.model_fields)
def test_every_field_of_a_providers_health_is_explained(field: str) -> None:
    assert f"`{field}`" in section("## Providers")


@pytest.mark.parametrize("field", ["priority", "not_before", "deadline_seconds", "on_deadline"])
def test_every_field_of_a_job_that_says_when_has_a_row(field: str) -> None:
    rows = [line.split("|")[1] for line in section("## What goes first").splitlines() if line.startswith("|")]
    assert sum(f"`{field}`" in row for row in rows) == 1


@pytest.mark.parametrize("ended", ["failed", "refused", "canceled", "uncertain"])
def test_every_code_of_an_image_without_a_reference_is_named(ended: str) -> None:
    code = without_reference("a", ImageStatus(ended)).code
    assert re.search(rf"`(REFERENCE|…)_{code.removeprefix('REFERENCE_')}`", section("### Pictures made from pictures"))
