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


_FORGET = """
import asyncio, gc, sys
from safelight.logs import configure_logging

configure_logging(level="info", as_json=sys.argv[1] == "json")


async def draw(prompt):
    raise KeyError(f"no color in {prompt}")


async def main():
    task = asyncio.create_task(draw("".join(["canary", "-in-a-prompt"])))
    await asyncio.wait([task])
    del task
    gc.collect()
    asyncio.get_running_loop().call_soon(int, "".join(["canary", "-in-a-callback"]))
    await asyncio.sleep(0)


asyncio.run(main())
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_nobody_waited_for_is_told_without_what_was_at_hand_there(form: str) -> None:
    """asyncio would say what a task's exception says, and what a callback was called with."""
    said = subprocess.run([sys.executable, "-c", _FORGET, form], capture_output=True, text=True, check=True).stderr
    assert "Task exception was never retrieved" in said
    assert "in draw" in said
    assert "KeyError" in said
    assert "ValueError" in said
    assert "canary" not in said


_READ_HEADERS = """
from safelight.logs import configure_logging

configure_logging(level="info", as_json=True)
from safelight.tracing.export import provider_of

provider_of("api").shutdown()
"""


@pytest.mark.parametrize("headers", ["Authorization: Bearer canary-of-a-key", "a b=canary-of-a-key,c=d"])
def test_headers_for_a_collector_that_cannot_be_read_are_told_of_and_not_quoted(
    headers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", headers)
    said = subprocess.run([sys.executable, "-c", _READ_HEADERS], capture_output=True, text=True, check=True).stderr
    assert "Header format invalid!" in said
    assert "canary" not in said
