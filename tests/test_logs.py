"""What is logged about a failure: where it happened, and nothing of what was at hand there."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FAIL = """
import logging, sys
import structlog
from safelight.logs import configure_logging

configure_logging(level="info", as_json=sys.argv[1] == "json")


def draw(prompt):
    raise KeyError(f"no color in {prompt}")


try:
    try:
        draw("".join(["canary", "-in-a-prompt"]))
    except KeyError as error:
        raise ValueError(f"in vain: {error}") from error
except ValueError as error:
    structlog.get_logger("ours").error("a step broke off", exc_info=error)
    logging.getLogger("theirs").exception("theirs broke off")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_in_the_log_shows_where_it_happened_and_no_prompt(form: str) -> None:
    said = subprocess.run([sys.executable, "-c", _FAIL, form], capture_output=True, text=True, check=True).stderr
    assert said.count("KeyError") == said.count("ValueError") == said.count("in draw") == 2
    assert "broke off" in said
    assert "canary-in-a-prompt" not in said
