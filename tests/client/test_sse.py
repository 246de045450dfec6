from __future__ import annotations

import pytest

from safelight.client.errors import NoStream
from safelight.client.sse import EventParser, ServerSentEvent

STREAM = (
    "\ufeffretry: 2500\n"
    ": a comment\n"
    "\n"
    "id: 1\n"
    "event: snapshot\n"
    "data: {\n"
    "data:  two spaces, one of them ours\n"
    "data\n"
    "data:}\n"
    "\n"
    "data: no type, an umlaut: ä€\U0001f511\n"
    "\n"
    "event: nothing\n"
    "\n"
    "id: 2\n"
    "id: no\0good\n"
    "retry: soon\n"
    "other: field\n"
    "event: a\n"
    "event: b\n"
    "data:\n"
    "\n"
    "id\n"
    "data: without a number\n"
    "\n"
    "data: never ended\n"
)
TOLD = [
    ServerSentEvent(type="snapshot", data="{\n two spaces, one of them ours\n\n}", id="1"),
    ServerSentEvent(type="message", data="no type, an umlaut: ä€\U0001f511", id=None),
    ServerSentEvent(type="b", data="", id="2"),
    ServerSentEvent(type="message", data="without a number", id=""),
]


def told(*chunks: bytes, parser: EventParser | None = None) -> list[ServerSentEvent]:
    parser = parser or EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize("line_end", ["\n", "\r", "\r\n"])
def test_wherever_the_pieces_are_cut_the_events_are_the_same(line_end: str) -> None:
    stream = STREAM.replace("\n", line_end).encode()
    assert told(stream) == TOLD
    assert told(*(bytes([each]) for each in stream)) == TOLD
    for cut in range(1, len(stream)):
        assert told(stream[:cut], b"", stream[cut:]) == TOLD, cut


def test_line_ends_may_be_mixed() -> None:
    assert [each.data for each in told(b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r")] == ["a\nb\nc", "d"]


def test_the_time_to_come_back_is_told_in_milliseconds() -> None:
    parser = EventParser()
    told(STREAM.encode(), parser=parser)
    assert parser.retry_seconds == 2.5


def test_bytes_that_are_no_text_are_replaced_and_a_mark_inside_is_no_mark() -> None:
    [event] = told(b"data: \xff\xef\xbb\xbf\n\n")
    assert event.data == "\ufffd\ufeff"


@pytest.mark.parametrize("piece", [b"data: 0123456789\n", b"0123456789", b"data\n"])
def test_an_event_without_an_end_is_given_up_before_it_fills_the_memory(piece: bytes) -> None:
    parser = EventParser(max_event_bytes=1000)
    with pytest.raises(NoStream, match="1000 bytes"):
        told(*[piece] * 400, parser=parser)


def test_many_events_are_no_large_event() -> None:
    assert len(told(*[b"data: 0123456789\n\n"] * 400, parser=EventParser(max_event_bytes=100))) == 400
