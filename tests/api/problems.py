"""What every refusal has to look like."""

from __future__ import annotations

from typing import Any

import httpx2

from safelight.api.edge.problems import PROBLEMS
from safelight.api.schemas import Problem


def refusal(response: httpx2.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem, once it is known to be this one and well formed."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = response.json()
    Problem.model_validate(problem)
    assert (response.status_code, problem["type"]) == (status, f"/problems/{slug}"), problem
    assert problem["status"] == PROBLEMS[slug].status == status
    assert problem["title"] == PROBLEMS[slug].title
    assert problem["request_id"] == response.headers["x-request-id"]
    retry_after = response.headers.get("retry-after")
    assert problem["retry_after"] == (int(retry_after) if retry_after else None)
    return problem


def pointers(problem: dict[str, Any]) -> list[str]:
    return [each["pointer"] for each in problem["errors"]]
