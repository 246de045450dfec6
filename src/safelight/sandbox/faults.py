"""What a call is scripted to do: parsed from its prompt, its URL path or a rate, and picked for each call.

    [[sandbox: NAME ARGUMENT xN]]     in a prompt; several are served in the order written
    /NAME=ARGUMENT,xN/gemini/v1/…     in a path; applies to every call on it, before the prompt's own
    NAME ARGUMENT=RATE,…              by rate; only for calls that no other script mentions

`xN` limits a directive to the first N calls with the same prompt (N more, when it follows another limited
one); after that the next one applies, and after the last the call is answered well. `slow` says how long a
call takes, all others say what it ends with.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """What the caller sees, and what it costs.

    A vendor charges for what it made, not for what arrived: whatever comes out of a finished generation is charged
    as a picture, however it is spoilt on its way. What was refused, throttled or broken before that is not.
    """

    OK = "ok"  # a picture
    SLOW = "slow"  # SECONDS; takes that long, whatever the latency
    THOUGHT = "thought"  # a picture after a draft marked `thought: true`

    RATE_LIMIT = "429"  # [RETRY_SECONDS]; free
    DAILY_QUOTA = "429-per-day"  # [RETRY_SECONDS]; free
    INTERNAL = "500"  # free
    BAD_GATEWAY = "502"  # an HTML body; free
    UNAVAILABLE = "503"  # free
    DEADLINE = "504"  # free
    HANG = "hang"  # [SECONDS]; no byte, then the connection ends; never generates, free

    REFUSE = "refuse"  # [FINISH_REASON]; charges the input
    REFUSE_PROMPT = "refuse-prompt"  # [BLOCK_REASON]; no usage, free
    NO_IMAGE = "no-image"  # finishReason NO_IMAGE; charges the input and some text
    TEXT_ONLY = "text-only"  # STOP with words and no picture; charges the input and some text
    CONTINUATION = "continuation"  # finishReason CONTINUATION: ask (and pay) again for the rest; charges so far
    EMPTY = "empty"  # `{}` and no usage; free

    # The generation succeeds and is charged as a picture; its answer does not arrive, or not as a whole.
    CUT = "cut"  # the connection ends without a byte
    RESET = "reset"  # the same, by RST
    DRIP_HEADERS = "drip-headers"  # [SECONDS] for each byte, from the first one on
    DRIP_BODY = "drip-body"  # [SECONDS] for each byte after the headers
    SHORT_BODY = "short-body"  # half of what Content-Length says, then the connection ends
    CUT_CHUNK = "cut-chunk"  # chunked; the connection ends within a chunk
    HALF_BODY = "half-body"  # neither length nor chunks: half a body looks like a whole one
    HTML = "html"  # 200 with an HTML page
    CALLED_PNG = "called-png"  # a good answer whose header says image/png
    CALLED_HTML = "called-html"  # a good answer whose header says text/html
    GZIP_BOMB = "gzip-bomb"  # [MEGABYTES]; a good answer, compressed, and blanks to that size after it

    # The same, for what is in the answer in place of the picture.
    NOT_AN_IMAGE = "not-an-image"  # a JSON error claimed to be a PNG
    GARBAGE = "garbage"  # random bytes claimed to be a PNG
    NO_BYTES = "no-bytes"  # a PNG of zero bytes
    TRUNCATED = "truncated"  # half a PNG
    HALF_JPEG = "half-jpeg"  # half a JPEG
    JPEG = "jpeg"  # a whole JPEG claimed to be a PNG
    PIXEL_BOMB = "pixel-bomb"  # a whole PNG of 200 megapixels in 45 kB
    TEXT_BOMB = "text-bomb"  # [MEGABYTES]; a good PNG with a compressed comment of that size
    FRAMES = "frames"  # an animation of 10 000 frames
    PADDED = "padded"  # [MEGABYTES]; a good PNG with zeros behind its end, an answer of that size


FREE = frozenset(
    {
        Fault.RATE_LIMIT,
        Fault.DAILY_QUOTA,
        Fault.INTERNAL,
        Fault.BAD_GATEWAY,
        Fault.UNAVAILABLE,
        Fault.DEADLINE,
        Fault.HANG,
        Fault.REFUSE_PROMPT,
        Fault.EMPTY,
    }
)
"""Nothing is charged."""

CHARGES_WORDS = frozenset({Fault.NO_IMAGE, Fault.TEXT_ONLY, Fault.CONTINUATION})
"""The input and some text are charged."""

CHARGES_PICTURE = frozenset(Fault) - FREE - CHARGES_WORDS - {Fault.REFUSE}
"""A whole picture is charged."""

GENERATES = frozenset(Fault) - (FREE - {Fault.REFUSE_PROMPT, Fault.EMPTY})
"""Faults that come out of a generation: they take the latency. The others answer at once."""

_SECONDS = {
    Fault.SLOW: None,
    Fault.RATE_LIMIT: 2.0,
    Fault.DAILY_QUOTA: 3600.0,
    Fault.HANG: 600.0,
    Fault.DRIP_HEADERS: 0.3,
    Fault.DRIP_BODY: 0.3,
}
_MEGABYTES = {Fault.GZIP_BOMB: 300, Fault.TEXT_BOMB: 400, Fault.PADDED: 100}
_MOST_MEGABYTES = 1000
_REASON = {Fault.REFUSE: "IMAGE_SAFETY", Fault.REFUSE_PROMPT: "PROHIBITED_CONTENT"}

_IN_PROMPT = re.compile(r"\[\[\s*sandbox\s*:(.*?)\]\]", re.DOTALL)
_LIMIT = re.compile(r"x([1-9]\d{0,5})")
_REASON_FORM = re.compile(r"[A-Z][A-Z_]*")


class UnknownDirective(ValueError):
    """A script nobody wrote a fault for; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One scripted fault. `limit` None applies to every call."""

    fault: Fault
    seconds: float | None = None
    megabytes: int | None = None
    reason: str | None = None
    limit: int | None = None

    def __str__(self) -> str:
        seconds = None if self.seconds is None else f"{self.seconds:g}"
        megabytes = None if self.megabytes is None else str(self.megabytes)
        return " ".join(word for word in (self.fault.value, seconds, megabytes, self.reason) if word)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRate:
    """`directive` happens to `rate` of the calls, 0..1."""

    directive: Directive
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens to one call. `takes_seconds` None leaves it to the latency."""

    directive: Directive
    takes_seconds: float | None = None

    @property
    def outcome(self) -> str:
        """The bill's word for it: `ok`, `429 2`, `refuse IMAGE_SAFETY`, …"""
        return str(self.directive)


def prompt_directives(prompt: str) -> tuple[Directive, ...]:
    """Raises UnknownDirective."""
    return tuple(parse_directive(match.group(1)) for match in _IN_PROMPT.finditer(prompt))


def path_directives(scenario: str) -> tuple[Directive, ...]:
    """One directive per path segment, `=` and `,` standing for blanks. Raises UnknownDirective."""
    return tuple(parse_directive(re.sub("[=,]", " ", part)) for part in scenario.split("/") if part)


def parse_fault_rates(text: str) -> tuple[FaultRate, ...]:
    """`429=0.1,500=0.05`, arguments allowed (`hang 30=0.01`), 1 in all at most. Raises ValueError."""
    rates = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        script, found, share = part.rpartition("=")
        if not found:
            raise ValueError(f"fault rate `{part}`: use `429=0.1`")
        directive = parse_directive(script)
        if directive.limit is not None or directive.fault is Fault.SLOW:
            raise ValueError(f"fault rate `{part}`: neither `slow` nor a count works by rate")
        rates.append(FaultRate(directive=directive, rate=float(share)))
    if any(not 0 <= each.rate <= 1 for each in rates) or sum(each.rate for each in rates) > 1 + 1e-9:
        raise ValueError(f"fault rates `{text}`: each is 0 to 1, and so is their sum")
    return tuple(rates)


def parse_directive(text: str) -> Directive:
    """Raises UnknownDirective."""
    words = text.split()
    try:
        fault = Fault(words[0])
    except (IndexError, ValueError):
        raise UnknownDirective(f"unknown sandbox directive `{text.strip()[:80]}`") from None
    limit = None
    if len(words) > 1 and (counted := _LIMIT.fullmatch(words[-1])):
        limit, words = int(counted.group(1)), words[:-1]
    seconds, megabytes, reason = _SECONDS.get(fault), _MEGABYTES.get(fault), _REASON.get(fault)
    match words[1:]:
        case []:
            if fault is Fault.SLOW:
                raise UnknownDirective("sandbox directive `slow` needs its seconds")
        case [argument] if fault in _SECONDS:
            seconds = _parse_seconds(argument)
        case [argument] if fault in _MEGABYTES and argument.isdecimal() and 0 < int(argument) <= _MOST_MEGABYTES:
            megabytes = int(argument)
        case [argument] if fault in _REASON and _REASON_FORM.fullmatch(argument):
            reason = argument
        case _:
            raise UnknownDirective(f"sandbox directive `{text.strip()[:80]}`: wrong argument")
    return Directive(fault=fault, seconds=seconds, megabytes=megabytes, reason=reason, limit=limit)


def plan_call(
    directives: Sequence[Directive], *, nth: int, rates: Iterable[FaultRate] = (), rng: random.Random
) -> Plan:
    """What happens to the `nth` call (from 1) with this prompt."""
    slow = _served(tuple(each for each in directives if each.fault is Fault.SLOW), nth)
    takes_seconds = slow.seconds if slow else None
    scripted = tuple(each for each in directives if each.fault is not Fault.SLOW)
    if scripted or not (drawn := _drawn(rates, rng)):
        drawn = _served(scripted, nth) or Directive(fault=Fault.OK)
    return Plan(directive=drawn, takes_seconds=takes_seconds)


def _served(directives: Sequence[Directive], nth: int) -> Directive | None:
    for directive in directives:
        if directive.limit is None or nth <= directive.limit:
            return directive
        nth -= directive.limit
    return None


def _drawn(rates: Iterable[FaultRate], rng: random.Random) -> Directive | None:
    point = rng.random()
    for each in rates:
        if point < each.rate:
            return each.directive
        point -= each.rate
    return None


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise UnknownDirective(f"`{text[:40]}` is not a number of seconds") from None
    if not 0 <= seconds <= 86_400 or not math.isfinite(seconds):
        raise UnknownDirective(f"`{text[:40]}` is not within 0 and 86400 seconds")
    return seconds
