"""What the examples hold is accepted as it stands: their recipes render, and the service takes their bodies."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from safelight.api.schemas import NewJob
from safelight.cli.job_file import read_job_file
from safelight.domain.ids import IMAGE_ID_PATTERN
from safelight.domain.recipe import load_recipes, render_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
CASES = {"the-drowned-orchestra": (4, 0, 10), "the-glass-orchard": (5, 6, 13)}
"""How many locations, suspects and pieces of evidence each case has."""


def case(name: str) -> dict[str, Any]:
    return json.loads((EXAMPLES / "cases" / f"{name}.json").read_text(encoding="utf-8"))


def test_every_case_is_known_here() -> None:
    assert {path.stem for path in (EXAMPLES / "cases").iterdir()} == set(CASES)


@pytest.mark.parametrize(("name", "sizes"), CASES.items())
def test_a_case_becomes_one_prompt_per_subject_in_the_order_of_the_recipe(name: str, sizes: tuple[int, ...]) -> None:
    body = case(name)
    NewJob.model_validate(body)
    assert body["metadata"]["case_id"] == name
    images = render_recipe(load_recipes()[body["recipe"]], body["subjects"])
    groups = Counter(image.group for image in images)
    assert tuple(groups[group] for group in ("locations", "suspects", "evidence")) == sizes
    assert len({image.prompt for image in images}) == len(images) == sum(sizes)
    for image in images:
        assert re.fullmatch(IMAGE_ID_PATTERN, image.id)
    subjects = [subject for group in body["subjects"].values() for subject in group]
    assert len({subject["name"] for subject in subjects}) == len(subjects)
    assert all(subject["name"] in image.prompt for subject, image in zip(subjects, images, strict=True))


@pytest.mark.parametrize(("file", "images"), [("tide-tables.toml", 3), ("pocket-tarot.csv", 4)])
def test_an_example_in_another_form_is_a_body_that_the_service_takes(file: str, images: int) -> None:
    job = NewJob.model_validate(read_job_file(EXAMPLES / file).body)
    assert len({image.id for image in job.images}) == len(job.images) == images
