"""The processes of `serve` are the commands of their names, started through a smaller door."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from safelight.settings import child_environment
from tests.fork_server import DEVNULL, PIPE, start


@pytest.mark.parametrize("module", ["safelight", "safelight.cli.child"])
@pytest.mark.parametrize("process", ["api", "worker"])
async def test_a_process_says_in_one_line_what_an_operator_has_to_put_right(
    module: str, process: str, database: str, tmp_path: Path
) -> None:
    settings = {"home": tmp_path, "database_url": database, "providers__x__kind": "nobodys"}
    environment = child_environment(settings)
    if module == "safelight":
        started = await start(process, env=environment, stdin=DEVNULL, stderr=PIPE)
    else:
        started = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, process), env=environment, stdin=DEVNULL, stderr=PIPE
        )
    _, said = await started.communicate()

    assert started.returncode == os.EX_CONFIG
    [line] = said.decode().splitlines()
    assert line.startswith("safelight: provider kind `nobodys` is not installed")
