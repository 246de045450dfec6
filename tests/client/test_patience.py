"""How long, and how often, a request is repeated over a line that breaks and a service that asks for a pause."""

from __future__ import annotations

import asyncio
import json

from safelight.client import SafelightClient
from tests.client.line import JOB_ID, Cut, Line, answer, opened

JOB = json.dumps({"id": JOB_ID, "status": "completed", "run": 1, "current_step": "", "images": []}).encode()


async def test_an_answer_that_breaks_off_after_longer_than_the_patience_is_asked_for_again() -> None:
    line = Line(log=["job.created"], script=[Cut(bytes_told=0, how="silent"), answer("200 OK", JOB)])
    async with (
        asyncio.timeout(30),
        opened(line),
        SafelightClient(line.url, timeout_seconds=1.0, patience_seconds=0.5) as client,
    ):
        assert (await client.job(JOB_ID)).has_ended
    assert len(line.asked) == 2
