"""Tests that documents and lists name: whether they are there."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def require_test(name: str) -> None:
    """Returns when `tests/…/test_file.py::test_name`, a parameter after it left aside, is a test of this checkout.

    Raises ValueError."""
    file, _, test = name.partition("::")
    if test.partition("[")[0] not in _tests_of(file):
        raise ValueError(f"there is no test `{name}`")


@cache
def _tests_of(file: str) -> frozenset[str]:
    path = _ROOT / file
    if not path.is_file():
        return frozenset()
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    functions = (node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in functions if name.startswith("test_"))
