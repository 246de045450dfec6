"""Each event once and in order, whatever becomes of the line."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from safelight.cli.children import free_port
from safelight.client import ApiProblem, Event, NoStream, SafelightClient, Unreachable
from tests.client.line import JOB_ID, Cut, Line, answer, opened

LOG = ["job.created", "job.started", "image.started", "image.completed", "job.completed"]


async def told(
    line: Line, *, after: int | None = 0, patience_seconds: float = 20.0, silence_seconds: float = 45.0
) -> list[Event]:
    """Everything that an iteration tells, without progress."""
    async with (
        asyncio.timeout(50),
        opened(line),
        SafelightClient(line.url, patience_seconds=patience_seconds, silence_seconds=silence_seconds) as client,
    ):
        return [each async for each in client.events(JOB_ID, after=after) if each.type != "job.progress"]


def seqs(events: Sequence[Event]) -> list[int | None]:
    return [each.seq for each in events]


async def test_an_iteration_ends_once_the_service_says_that_there_is_nothing_more() -> None:
    line = Line(log=list(LOG))
    events = await told(line)
    assert [each.type for each in events] == LOG
    assert events[3].data == {"job_id": JOB_ID, "seq": 4}
    assert seqs(events) == [1, 2, 3, 4, 5]
    assert line.asked == ["0", "5"]


async def test_without_a_place_to_begin_the_job_is_shown_first() -> None:
    line = Line(log=LOG[:2])
    async with asyncio.timeout(50), opened(line), SafelightClient(line.url) as client:
        events = client.events(JOB_ID)
        first = await anext(events)
        assert (first.type, first.seq, first.data["status"], first.timestamp) == ("snapshot", 2, "generating", None)
        line.add(*LOG[2:])
        rest = [each async for each in events]
    assert seqs([each for each in rest if each.seq]) == [3, 4, 5]
    assert [each.data["progress"] for each in rest if each.type == "job.progress"] == [7, 7, 7]


async def test_a_snapshot_of_a_job_that_has_ended_is_all() -> None:
    line = Line(log=list(LOG))
    assert [each.type for each in await told(line, after=None)] == ["snapshot"]


@pytest.mark.parametrize("how", ["torn", "closed"])
async def test_wherever_the_line_breaks_every_event_is_told_once_and_in_order(how: str) -> None:
    whole = sum(len(Line(log=LOG).told(seq)) for seq in range(1, 6))
    # Each connection gets a little further than the one before it.
    cuts = [Cut(bytes_told=told_bytes, how=how) for told_bytes in range(0, whole, 29)]
    line = Line(log=list(LOG), script=[*cuts])
    assert seqs(await told(line)) == [1, 2, 3, 4, 5]
    assert len(line.asked) > 5


async def test_a_line_that_falls_silent_is_given_up() -> None:
    line = Line(log=list(LOG), script=[Cut(bytes_told=600, how="silent")])
    events = await told(line, silence_seconds=0.2)
    assert seqs(events) == [1, 2, 3, 4, 5]
    assert line.asked[0] == "0"
    assert line.asked[1] not in (None, "0")


async def test_what_comes_a_second_time_is_passed_over() -> None:
    line = Line(log=list(LOG))
    again = b"".join(line.told(seq) for seq in (3, 1, 2, 4))
    line.script = [answer("200 OK", again, content_type="text/event-stream")]
    assert seqs(await told(line, after=2)) == [3, 4, 5]
    assert line.asked[1] == "4"


async def test_a_service_that_restarts_is_waited_for() -> None:
    passing = answer("503 Service Unavailable", b"starting", retry_after="0")
    line = Line(log=list(LOG), script=[Cut(bytes_told=400), passing, passing, Cut(bytes_told=0)])
    assert seqs(await told(line)) == [1, 2, 3, 4, 5]


async def test_patience_ends_when_nothing_comes_any_more() -> None:
    line = Line(log=list(LOG), script=[Cut(bytes_told=400), *[answer("502 Bad Gateway")] * 50])
    seen: list[int | None] = []
    async with asyncio.timeout(50), opened(line), SafelightClient(line.url, patience_seconds=0.3) as client:

        async def listen() -> None:
            async for each in client.events(JOB_ID, after=0):
                seen.extend([each.seq] if each.seq else [])

        with pytest.raises(ApiProblem, match="HTTP 502"):
            await listen()
    assert seen == [1], "what came whole before the line broke"


async def test_patience_lasts_as_long_as_something_comes() -> None:
    """Ten broken lines take longer together than the patience with one that says nothing."""
    line = Line(log=list(LOG), script=[Cut(bytes_told=12)] * 10)
    assert seqs(await told(line, patience_seconds=0.4)) == [1, 2, 3, 4, 5]
    assert len(line.asked) == 12


async def test_where_nothing_listens_it_is_said_at_once() -> None:
    async with SafelightClient(f"http://127.0.0.1:{free_port()}", patience_seconds=3600) as client:
        with pytest.raises(Unreachable, match="nothing answers at"):
            await anext(client.events(JOB_ID))


async def test_a_place_that_is_not_kept_any_more_is_told_and_the_job_shown() -> None:
    events = await told(Line(log=list(LOG), oldest=5), after=2)
    assert [(each.type, each.seq) for each in events] == [("reset", None), ("snapshot", 5)]
    assert events[0].data == {"reason": "expired"}


@pytest.mark.parametrize(
    "reply",
    [
        answer("200 OK", b"<html>", content_type="text/html"),
        answer("200 OK", b"data: [1]\n\n", content_type="text/event-stream"),
        answer("200 OK", b"id: x\nevent: snapshot\ndata: {}\n\n", content_type="text/event-stream"),
    ],
)
async def test_what_is_no_stream_of_ours_is_not_asked_twice(reply: bytes) -> None:
    line = Line(log=list(LOG), script=[reply])
    with pytest.raises(NoStream):
        await told(line)
    assert len(line.asked) == 1


async def test_an_unknown_job_is_the_problem_that_the_service_names() -> None:
    body = b'{"type": "/problems/not-found", "detail": "There is no such job.", "retryable": false}'
    line = Line(log=list(LOG), script=[answer("404 Not Found", body, content_type="application/problem+json")])
    with pytest.raises(ApiProblem, match="no such job"):
        await told(line)
    assert len(line.asked) == 1


async def test_many_jobs_can_be_followed_at_once() -> None:
    line = Line(log=LOG[:1])
    all_are_followed = asyncio.Barrier(120 + 1)

    async def follow(client: SafelightClient) -> list[Event]:
        events = client.events(JOB_ID, after=0)
        first = await anext(events)
        await all_are_followed.wait()
        return [first] + [each async for each in events if each.type != "job.progress"]

    async with (
        asyncio.timeout(50),
        opened(line),
        SafelightClient(line.url, timeout_seconds=2.0, patience_seconds=0.5) as client,
        asyncio.TaskGroup() as group,
    ):
        followed = [group.create_task(follow(client)) for _ in range(120)]
        await all_are_followed.wait()
        line.add(*LOG[1:])
    assert {tuple(seqs(each.result())) for each in followed} == {(1, 2, 3, 4, 5)}
