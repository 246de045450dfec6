"""How long, and how often, a request is repeated over a line that breaks and a service that asks for a pause."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("what", ["job", "archive"])
async def test_a_service_that_names_a_pause_is_left_alone_for_as_long(what: str, tmp_path: Path) -> None:
    full = b'{"type": "/problems/rate-limited", "detail": "Too many requests.", "retryable": true}'
    refusal = answer("429 Too Many Requests", full, content_type="application/problem+json", retry_after="1")
    line = Line(log=["job.created"], script=[refusal, answer("200 OK", JOB)])
    async with asyncio.timeout(30), opened(line), SafelightClient(line.url) as client:
        began_at = time.monotonic()
        await (client.job(JOB_ID) if what == "job" else client.archive(JOB_ID, tmp_path / "all.zip"))
    assert time.monotonic() - began_at >= 1
    assert len(line.asked) == 2


async def test_a_feed_that_cannot_be_held_is_asked_for_again_no_sooner_than_it_says() -> None:
    event = {"type": "job.created", "timestamp": "2026-11-20T20:00:00Z", "data": {"job_id": JOB_ID, "seq": 1}}
    nothing, something = (json.dumps({"events": each, "next_cursor": "c"}).encode() for each in ([], [event]))
    line = Line(log=["job.created"], script=[answer("200 OK", nothing, retry_after="1"), answer("200 OK", something)])
    async with asyncio.timeout(30), opened(line), SafelightClient(line.url) as client:
        began_at = time.monotonic()
        page = await anext(client.account_events(follow=True))
    assert [each.type for each in page.events] == ["job.created"]
    assert time.monotonic() - began_at >= 1


async def test_however_many_calls_are_made_at_once_each_has_its_answer() -> None:
    open_now, most_open = 0, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most_open
        open_now += 1
        most_open = max(most_open, open_now)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.4)  # how long the service takes: eight hundred answers take longer than one may
        writer.write(answer("200 OK", JOB))
        await writer.drain()
        open_now -= 1
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1000)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, SafelightClient(url, timeout_seconds=2.0, patience_seconds=0) as client:
        jobs = await asyncio.gather(*(client.job(JOB_ID) for _ in range(800)))
    assert len(jobs) == 800
    assert most_open <= 100
