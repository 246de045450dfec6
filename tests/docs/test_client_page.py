"""The programs of the page run as they stand, but for the address."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from safelight.client import SafelightClient
from safelight.delivery.webhooks.signing import new_secret, signed_headers
from tests.cli.front_desk import FrontDesk, opened

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "client.md").read_text(encoding="utf-8")
EVENTS, WAITING, WEBHOOKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def said(program: str, url: str, folder: Path) -> list[str]:
    """What it prints, in lines, run in that folder."""
    assert "http://127.0.0.1:8420" in program
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program.replace("http://127.0.0.1:8420", url)),
        cwd=folder,
        env={"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().splitlines()


async def test_the_first_program_tells_what_happens_and_downloads_the_pictures(tmp_path: Path) -> None:
    async with opened(FrontDesk(streams=True)) as desk:
        lines = await said(EVENTS, desk.base_url, tmp_path)
    assert lines == [
        "0 snapshot ",
        "1 image.completed loc-1",
        "2 image.completed ev-1",
        "3 image.completed ev-2",
        "4 job.completed ",
        *(f"pictures/{name}.jpg" for name in ("locations/loc-1", "evidence/ev-1", "evidence/ev-2")),
    ]
    assert len(list((tmp_path / "pictures").rglob("*.jpg"))) == 3


async def test_the_second_program_waits_and_says_how_it_went(tmp_path: Path) -> None:
    async with opened(FrontDesk(streams=True)) as desk:
        assert await said(WAITING, desk.base_url, tmp_path) == ["completed ['loc-1', 'ev-1', 'ev-2'] 0.034"]


def test_the_receiver_believes_what_was_signed_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(WEBHOOKS, names)
    secret = new_secret()
    body = b'{"type": "job.completed", "data": {"job_id": "job_1"}}'
    headers = signed_headers("msg_1", body, at_unix=int(time.time()), secrets=[secret])
    assert names["receive"](headers, body, [new_secret(), secret]) == 204
    assert capsys.readouterr().out == "job.completed job_1\n"
    assert names["receive"](headers, body, [new_secret()]) == 401


def test_the_page_names_every_method() -> None:
    table = PAGE.partition("| method | does |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)", table))
    methods = {name for name, value in vars(SafelightClient).items() if callable(value) and not name.startswith("_")}
    assert methods - {"aclose", "is_up"} <= named


def test_no_key_of_the_page_belongs_to_another_job_of_the_first_steps() -> None:
    read_me = (ROOT / "README.md").read_text(encoding="utf-8")
    keys = re.findall(r'idempotency_key="(.*?)"', PAGE)
    assert keys
    assert not [key for key in keys if key in read_me]
