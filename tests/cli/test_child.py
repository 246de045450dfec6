"""The processes of `serve` are the commands of their names, started through a smaller door."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from safelight.cli.children import free_port
from safelight.settings import VENDOR_KEYS, child_environment
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


async def test_serve_ends_when_its_processes_cannot_run_with_its_settings(database: str, tmp_path: Path) -> None:
    """Else it would start them again and again, and never be ready."""
    settings = {"home": tmp_path, "database_url": database, "bind": f"127.0.0.1:{free_port()}"}
    environment = child_environment(settings | {"providers__studio__kind": "fal", "default_provider": "studio"})
    environment.pop("FAL_KEY", None)
    started = await start("serve", env=environment, stdin=DEVNULL, stderr=PIPE)
    async with asyncio.timeout(60):
        _, said = await started.communicate()

    assert started.returncode == os.EX_CONFIG
    lines = set(said.decode().splitlines())
    assert lines == {"safelight: provider `studio` of kind `fal` needs an API key: set its `api_key`, or FAL_KEY"}


async def test_serve_says_beforehand_when_a_request_has_to_name_its_provider(database: str, tmp_path: Path) -> None:
    environment = child_environment(
        {"home": tmp_path, "database_url": database, "bind": f"127.0.0.1:{free_port()}"}
        | {"providers__one__kind": "placeholder", "providers__two__kind": "placeholder"}
    )
    for variable in VENDOR_KEYS.values():
        environment.pop(variable, None)
    started = await start("serve", env=environment, stdin=DEVNULL, stderr=PIPE)
    assert started.stderr is not None
    try:
        async with asyncio.timeout(60):
            while b"No provider is the default" not in (line := await started.stderr.readline()):
                assert line
    finally:
        started.terminate()
        await started.communicate()
    assert b"name one (`one`, `two`, `placeholder`)" in line
    assert started.returncode == 0
