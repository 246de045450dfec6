"""The whole of `make bench`, in small: every part runs, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

GOALS = {
    "submit_p50",
    "submit_p99",
    "first_call_p50",
    "makespan",
    "memory_idle",
    "throughput_plain",
    "held_submits",
    "held_submit_p99",
    "overhead_gemini_p50",
    "overhead_openai_p50",
    "overhead_replicate_p50",
    "overhead_fal_p50",
    "admission_ratio_500",
    "admission_ratio_2000",
    "admission_ratio_500_of_20",
    "event_p50",
    "event_p99",
    "event_pace",
    "stream_memory",
    "polls",
    "poll_p99",
    "rendering_ratio",
    "stop",
}
LONG_GOALS = {
    "flat_worker",
    "flat_api",
    "flat_files_worker",
    "flat_files_api",
    "queued_submit_p99_100",
    "queued_submit_p99_500",
    "queued_submit_p99_2000",
    "queued_submit_ratio_500",
    "queued_submit_ratio_2000",
    "queued_throughput_ratio",
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells how much memory a process shares")
async def test_a_quick_run_measures_every_figure_and_leaves_nothing_behind(open_folder: Path, tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--quick", "--json", str(figures), "--folder", str(open_folder)),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    shown, _ = await process.communicate()
    assert process.returncode == 0

    found = {each["name"]: each for each in json.loads(figures.read_text("utf-8"))["figures"]}
    # What an adapter adds to a call is less than what calls differ by, so that of a few pairs it can be anything; and
    # a system that counts processor time in hundredths of a second may see none of it go to a few images. A few streams
    # take less memory than a process gives back meanwhile.
    steady = {name: each["median"] for name, each in found.items() if not name.startswith(("overhead_", "cpu_"))}
    del steady["stream_memory"]
    assert {name for name, figure in steady.items() if figure <= 0} == set()
    assert {name for name, each in found.items() if each["goal"] is not None} == GOALS
    rows = [line for line in shown.decode().splitlines() if line.startswith("| ")]
    assert len(rows) == len(found) + 1, "a row for each figure, below the heading"
    assert list(open_folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells how much memory a process shares")
async def test_a_quick_run_of_the_long_parts_measures_every_figure_and_leaves_nothing_behind(
    open_folder: Path, tmp_path: Path
) -> None:
    figures = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--long", "--quick"),
        *("--json", str(figures), "--folder", str(open_folder)),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0

    found = {each["name"]: each for each in json.loads(figures.read_text("utf-8"))["figures"]}
    assert {name for name, each in found.items() if each["goal"] is not None} == LONG_GOALS
    assert found["flat_worker_100"]["median"] > 10
    assert found["database_per_image"]["median"] > 0.5
    assert list(open_folder.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells how much memory a process shares")
async def test_a_quick_profile_tells_of_time_and_memory_and_leaves_nothing_behind(open_folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--profile", "--quick", "--folder", str(open_folder)),
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    shown, _ = await process.communicate()
    assert process.returncode == 0

    statements, processors, makespan, memory = shown.decode().split("### ")[1:]
    assert re.search(r"For each image: [1-9]\d*\.\d statements in \d+\.\d transactions", statements)
    assert "| `open_attempt` | " in statements
    assert " others | " in statements
    assert "| · in `asyncio` | " in processors
    assert "| the job has ended | " in makespan
    assert "`google.genai`" in memory
    assert list(open_folder.iterdir()) == []
