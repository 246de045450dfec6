"""The mystery case that the demo pictures: shipped in the wheel, and read from `examples/` in a checkout."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import safelight
from safelight.cli.complaint import Complaint

_CASE = "the-drowned-orchestra.json"


def mystery_case() -> dict[str, Any]:
    """The body of `POST /v1/jobs`. Raises Complaint when this installation carries no cases."""
    shipped = resources.files(safelight).joinpath("examples", "cases", _CASE)
    in_checkout = Path(safelight.__file__).resolve().parents[2] / "examples" / "cases" / _CASE
    for source in (shipped, in_checkout):
        if source.is_file():
            return json.loads(source.read_text(encoding="utf-8"))
    raise Complaint(f"this installation lacks the demo's case `{_CASE}`; install Safelight again")


def image_count(case: dict[str, Any]) -> int:
    """How many images the case asks for: one per subject, and those listed by themselves."""
    listed = sum(image.get("count", 1) for image in case.get("images", ()))
    return listed + sum(len(subjects) for subjects in case.get("subjects", {}).values())
