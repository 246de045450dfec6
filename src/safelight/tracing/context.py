"""Where in which trace something belongs, as a value: W3C's `traceparent` with its `tracestate`.

It comes with a request, is kept with the job that the request orders, and goes out with the job's webhooks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_STATE_CHARS = 512
MAX_TEXT_CHARS = 55 + 1 + MAX_STATE_CHARS

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.{0,200})?")
_KNOWN_FLAGS = 0b11
"""Sampled, and that the trace's id is random. What else a later version sets is not ours to hand on."""
_MEMBER = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{1,256}")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span, as others name it: ids in hexadecimal. `state` belongs to the systems that the trace came through."""

    trace_id: str
    span_id: str
    flags: int = 0
    state: str = ""

    @classmethod
    def of_headers(cls, traceparent: Sequence[str], tracestate: Sequence[str]) -> TraceContext | None:
        """From all the headers of these names. None for what is no context, whatever it is; a state that is none is
        left out."""
        match = _TRACEPARENT.fullmatch(traceparent[0].strip(" \t")) if len(traceparent) == 1 else None
        if match is None:
            return None
        version, trace_id, span_id, flags, more = match.groups()
        if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not span_id.strip("0"):
            return None
        return cls(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS, _state(tracestate))

    @classmethod
    def of_text(cls, text: str | None) -> TraceContext | None:
        """From what `text` said; None for anything else."""
        if text is None:
            return None
        traceparent, _, state = text.partition(" ")
        return cls.of_headers([traceparent], [state] if state else [])

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    @property
    def text(self) -> str:
        """In one line of `MAX_TEXT_CHARS` at most."""
        return f"{self.traceparent} {self.state}" if self.state else self.traceparent

    @property
    def log_fields(self) -> dict[str, str]:
        """What log lines say of it."""
        return {"trace_id": self.trace_id}

    @property
    def headers(self) -> dict[str, str]:
        return {"traceparent": self.traceparent} | ({"tracestate": self.state} if self.state else {})


def _state(headers: Sequence[str]) -> str:
    members = [member for header in headers for each in header.split(",") if (member := each.strip(" \t"))]
    joined = ",".join(members)
    is_good = len(joined) <= MAX_STATE_CHARS and len(members) <= 32 and all(map(_MEMBER.fullmatch, members))
    return joined if is_good else ""
