"""docs/bad-input.md says what the tests send, and every kind of problem that a caller can bring about is on it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from safelight.api.edge.problems import PROBLEMS, type_of
from tests.api.bad_input_page import page
from tests.api.bad_states import BAD_STATES, BadState

ROOT = Path(__file__).resolve().parents[2]
BROUGHT_ABOUT_ELSEWHERE = {
    "internal-error": "nobody's input brings it about",
    "conflict": "the general word for what the others say more closely",
    "job-canceling": "for as long as a sent call winds down",
    "nothing-to-retry": "an answer to a right question",
    "schedule-exists": "an answer to a right question",
    "too-many-webhooks": "an answer to a right question",
    "built-in-style": "an answer to a right question",
    "account-not-billed": "an answer to a right question",
    "insufficient-balance": "an answer to a right question",
    "too-many-styles": "an answer to a right question",
    "precondition-failed": "an answer to a right question",
    "no-provider": "how the service is configured",
}


@pytest.mark.parametrize("state", [each for rows in BAD_STATES.values() for each in rows], ids=lambda each: each.name)
def test_the_test_that_a_row_names_is_there_and_expects_its_type(state: BadState) -> None:
    file, _, name = state.test.partition("::")
    body = functions_of(file)[name]

    assert f'"{state.slug}"' in body
    assert str(state.status) in body


@pytest.mark.parametrize("slug", PROBLEMS)
def test_every_kind_of_problem_is_on_the_page_unless_no_input_is_wrong(slug: str) -> None:
    assert (f"`{type_of(slug)}`" in page()) != (slug in BROUGHT_ABOUT_ELSEWHERE)


@cache
def functions_of(file: str) -> dict[str, str]:
    """Source of each, with what stands above it for its parameters."""
    source = (ROOT / "tests" / file).read_text(encoding="utf-8")
    nodes = [each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    lines = source.splitlines()
    starts = {each.name: min([each.lineno, *(d.lineno for d in each.decorator_list)]) for each in nodes}
    return {each.name: "\n".join(lines[starts[each.name] - 1 : each.end_lineno]) for each in nodes}
