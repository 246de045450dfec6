"""What is a trace context, and what is none."""

from __future__ import annotations

import pytest

from safelight.tracing.context import MAX_TEXT_CHARS, TraceContext
from tests.tracing.recorded import CALLER, CALLER_SPAN, CALLER_TRACE

BROKEN = [
    *(
        "",
        "x",
        CALLER[:-1],
        CALLER + "0",
        CALLER.upper(),
        CALLER.replace("-", "_"),
        f"{CALLER}\x00",
        f"{CALLER}, {CALLER}",
    ),
    CALLER.replace(CALLER_TRACE, "0" * 32),
    CALLER.replace(CALLER_SPAN, "0" * 16),
    "ff" + CALLER[2:],
    f"{CALLER}-more",
    CALLER.replace("4b", "٤ب"),
    CALLER * 50,
]


def test_a_context_comes_back_as_it_was_kept() -> None:
    context = TraceContext.of_headers([CALLER], ["vendor=a:b", "other@system=2"])
    assert context is not None
    assert context == TraceContext(CALLER_TRACE, CALLER_SPAN, 1, "vendor=a:b,other@system=2")
    assert TraceContext.of_text(context.text) == context
    assert context.headers == {"traceparent": CALLER, "tracestate": "vendor=a:b,other@system=2"}


@pytest.mark.parametrize("header", BROKEN)
def test_what_is_no_traceparent_is_no_context(header: str) -> None:
    assert TraceContext.of_headers([header], ["vendor=1"]) is None


def test_two_traceparents_are_none() -> None:
    assert TraceContext.of_headers([CALLER, CALLER], []) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    context = TraceContext.of_headers([f"01{CALLER[2:-2]}ff-what-came-later"], [])
    assert context == TraceContext(CALLER_TRACE, CALLER_SPAN, 3)


@pytest.mark.parametrize(
    "state", ["no equals sign", "a=b\x00", "a=b\nc", "UPPER=1", "a=" + "b" * 600, "ключ=1", "a=b=c"]
)
def test_a_state_that_is_none_is_left_out(state: str) -> None:
    assert TraceContext.of_headers([CALLER], [state]) == TraceContext(CALLER_TRACE, CALLER_SPAN, 1)


def test_the_longest_context_fits_where_it_is_kept() -> None:
    longest = ",".join(["a=" + "b" * 254, "c=" + "d" * 253])
    context = TraceContext.of_headers([CALLER], [longest])
    assert context is not None
    assert context.state == longest
    assert len(context.text) == MAX_TEXT_CHARS == 568
