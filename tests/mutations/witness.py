"""A plugin of pytest that writes down how each test ended: whether it passed, or something that must hold did not.

A test that cannot be imported, or that breaks off for another reason, has noticed nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import safelight


def pytest_sessionstart(session: pytest.Session) -> None:
    """The source that is tested is the copy's."""
    here = Path.cwd() / "src" / "safelight" / "__init__.py"
    assert Path(safelight.__file__) == here, f"{safelight.__file__} would be tested, not {here}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> object:
    report = yield
    if call.when == "call":
        error = call.excinfo.value if call.excinfo is not None else None
        line = {"test": item.nodeid, "passed": error is None, "refuted": error is not None and _is_refuted(error)}
        with Path(os.environ["MUTATION_REPORT"]).open("a", encoding="utf-8") as lines:  # noqa: TID251
            lines.write(json.dumps(line) + "\n")
    return report


def _is_refuted(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_is_refuted(each) for each in error.exceptions)
    return isinstance(error, AssertionError | pytest.fail.Exception)
