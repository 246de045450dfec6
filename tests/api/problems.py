"""What every refusal has to look like."""

from __future__ import annotations

import re
from typing import Any

import httpx2

from safelight.api.edge.problems import PROBLEMS
from safelight.api.schemas import Problem

_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*", re.DOTALL)


def refusal(response: httpx2.Response, status: int, slug: str, *, usual_status: int | None = None) -> dict[str, Any]:
    """The problem, once it is known to be this one and well formed. `usual_status`: of its kind, where this answer has
    another."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    Problem.model_validate(problem)
    assert (response.status_code, problem["type"]) == (status, f"/problems/{slug}"), problem
    assert (problem["status"], PROBLEMS[slug].status) == (status, usual_status or status)
    assert problem["title"] == PROBLEMS[slug].title
    assert problem["detail"]
    assert problem["instance"].startswith("/")
    for each in problem["errors"]:
        [where] = {"pointer", "parameter"} & each.keys()
        assert each["detail"]
        assert where == "parameter" or _POINTER.fullmatch(each["pointer"]), each
    assert problem["request_id"] == response.headers["x-request-id"]
    retry_after = response.headers.get("retry-after")
    assert problem["retry_after"] == (int(retry_after) if retry_after else None)
    return problem


def pointers(problem: dict[str, Any]) -> list[str]:
    return [each["pointer"] for each in problem["errors"]]
