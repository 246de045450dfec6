"""What a latency applies to: the time of a generation, and of nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from safelight.sandbox.config import SandboxConfig
from safelight.sandbox.latency import parse_latency
from safelight.sandbox.server import RunningSandbox, running_sandbox


@pytest.mark.parametrize(("script", "status"), [("500", 500), ("429 2", 429), ("bad-key", 400)])
async def test_an_error_answers_at_once_however_long_a_generation_takes(
    script: str, status: int, bill_path: Path
) -> None:
    config = SandboxConfig(latency=parse_latency("3600"), pictures=1)
    async with running_sandbox(config, bill_path=bill_path) as sandbox:
        assert (await post(sandbox, f"a pier [[sandbox: {script}]]")).status_code == status


async def test_a_refusal_is_generated_and_takes_the_latency(bill_path: Path) -> None:
    config = SandboxConfig(latency=parse_latency("0.15"), pictures=1)
    async with running_sandbox(config, bill_path=bill_path) as sandbox:
        assert await seconds_of(sandbox, "a pier [[sandbox: refuse]]") >= 0.15


async def test_a_call_that_is_scripted_to_be_slow_takes_its_own_time(bill_path: Path) -> None:
    async with running_sandbox(SandboxConfig(pictures=1), bill_path=bill_path) as sandbox:
        assert await seconds_of(sandbox, "a pier [[sandbox: slow 0.3]]") >= 0.3


async def seconds_of(sandbox: RunningSandbox, prompt: str) -> float:
    clock = asyncio.get_running_loop().time
    began = clock()
    assert (await post(sandbox, prompt)).status_code == 200
    return clock() - began


async def post(sandbox: RunningSandbox, prompt: str) -> httpx2.Response:
    body: dict[str, Any] = {"contents": [{"parts": [{"text": prompt}]}]}
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.post(
            f"{sandbox.gemini_url()}/v1/models/gemini-3.1-flash-image:generateContent",
            json=body,
            headers={"x-goog-api-key": "k"},
        )
