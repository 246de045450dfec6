"""The demo and a private service, with every part real and on this machine."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from pathlib import Path

import pytest
from PIL import Image

from safelight.cli.cases import image_count, mystery_case
from safelight.cli.demo_bill import Bill
from tests.cli.conftest import Safelight

LAST_LINE = re.compile(r"14/14 completed · (http://127\.0\.0\.1:\d+)/v1/jobs/job_\w{26} · vendor billed (.+)")


async def test_the_demo_delivers_every_picture_and_pays_for_each_once(
    safelight: Safelight, tmp_path: Path, environment: dict[str, str]
) -> None:
    # Settings of an installation beside it, with which the demo could not run.
    environment |= {"SAFELIGHT_PROVIDERS__STUDIO__KIND": "openai", "SAFELIGHT_MAX_QUEUED_IMAGES": "1"}
    said = await safelight("demo")
    assert said.code == 0, said
    last = LAST_LINE.fullmatch(said.out.splitlines()[-1])
    assert last is not None
    assert last[2] == "$0.47 for 14 calls"
    assert f"the pictures are in {tmp_path / 'demo-output'}; " in said.out
    saved = sorted((tmp_path / "demo-output").rglob("*.jpg"))
    assert len(saved) == 14
    for path in saved:
        with Image.open(path) as picture:
            picture.load()  # to its last row, which opening does not read
            assert (picture.format, picture.size) == ("JPEG", (512, 512))
    assert not list((tmp_path / ".demo" / "run").glob("*.pid"))


@pytest.mark.slow
async def test_an_interrupted_demo_stops_what_it_started_and_can_be_run_again(
    safelight: Safelight, environment: dict[str, str], tmp_path: Path
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "safelight", "demo"),
        cwd=tmp_path,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(90):
        while not (await process.stdout.readline()).startswith(b"completed"):
            assert process.returncode is None
        process.send_signal(signal.SIGINT)
        rest = await process.stdout.read()
        await process.wait()
    assert process.returncode == 130
    assert "can be run again" in rest.decode()
    again = await safelight("demo")
    assert again.code == 0, again
    assert again.out.startswith("the last demo was interrupted: starting from an empty home")
    assert again.out.rstrip().endswith("$0.47 for 14 calls")


@pytest.mark.slow
async def test_a_demo_whose_worker_is_killed_delivers_every_picture_and_says_what_it_bought_again(
    safelight: Safelight,
) -> None:
    said = await safelight("demo", "--kill-worker")
    assert said.code == 0, said
    assert "killed worker process" in said.out
    last = LAST_LINE.fullmatch(said.out.splitlines()[-1])
    assert last is not None
    calls = int(last[2].split()[2])
    again = re.search(r"outcome unknown, bought again +(\d+) ", said.out)
    assert again is not None
    assert calls == 14 + int(again[1]) <= 17


async def test_a_home_of_a_real_installation_is_left_alone(safelight: Safelight, tmp_path: Path) -> None:
    (tmp_path / "mine" / "pg").mkdir(parents=True)
    said = await safelight("demo", "--home", "mine")
    assert said.code == 1
    assert "holds data of a real installation" in said.err
    assert (tmp_path / "mine" / "pg").is_dir()


@pytest.mark.slow
async def test_generate_brings_a_service_of_its_own_when_none_answers(safelight: Safelight, tmp_path: Path) -> None:
    order = {
        "images": [{"id": f"card-{n}", "group": "cards", "prompt": f"Card {n}"} for n in (1, 2)],
        "defaults": {"provider": "placeholder"},
    }
    (tmp_path / "cards.json").write_text(json.dumps(order))
    said = await safelight("generate", "cards.json", "-o", "out")
    assert said.code == 0, said
    assert "starting a private service" in said.out
    assert len(list((tmp_path / "out" / "cards").iterdir())) == 2
    assert not list((tmp_path / "home" / "run").glob("*.pid"))


def test_the_case_that_ships_asks_for_14_images() -> None:
    assert image_count(mystery_case()) == 14


def test_a_call_repeated_for_a_prompt_is_told_apart_on_the_bill() -> None:
    bill = Bill(prompts=("a", "b", "a"), costs_microusd=(30, 40, 31))
    assert (bill.calls, bill.total_microusd) == (3, 101)
    assert (bill.repeated_calls, bill.repeated_microusd) == (1, 30)
