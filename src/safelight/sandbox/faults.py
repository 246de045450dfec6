"""What a call is scripted to do: parsed from its prompt, its URL path or a rate, and picked for each call.

    [[sandbox: NAME ARGUMENT xN]]          in a prompt; several are served in the order written
    [[sandbox openai: NAME ARGUMENT xN]]   the same, for one vendor alone
    /NAME=ARGUMENT,xN/gemini/v1/…          in a path; applies to every call on it, before the prompt's own
    NAME ARGUMENT=RATE,…                   by rate; only for calls that no other script mentions

`xN` limits a directive to the first N calls with the same prompt (N more, when it follows another limited
one); after that the next one applies, and after the last the call is answered well. `slow` says how long a
call takes, all others say what it ends with. No vendor has all faults; each says which are its own.

Where a call buys a job that is looked at until it ends, `poll`, `result` and `file` name what happens to the looks
and downloads, whatever the job ends with: `poll 503 x2` to the first two polls of each job, `file cut` to every
download of each of its files.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class Fault(StrEnum):
    """What the caller sees, and what it costs.

    A vendor charges for what it made, not for what arrived: whatever comes out of a finished generation is charged
    as a picture, however it is spoilt on its way. What was refused, throttled or broken before that is not.
    Costs are given for most vendors; where one differs, its own module says so.
    """

    OK = "ok"  # a picture
    SLOW = "slow"  # SECONDS; takes that long, whatever the latency
    THOUGHT = "thought"  # a picture after a draft marked `thought: true`

    RATE_LIMIT = "429"  # [RETRY_SECONDS]; free
    RATE_LIMIT_MS = "429-ms"  # [RETRY_SECONDS]; the same, told in milliseconds
    RATE_LIMIT_DATE = "429-date"  # [RETRY_SECONDS]; the same, told as an HTTP date
    RATE_LIMIT_GARBLED = "429-garbled"  # the same, with a word in place of the time
    DAILY_QUOTA = "429-per-day"  # [RETRY_SECONDS]; free
    INTERNAL = "500"  # free
    BAD_GATEWAY = "502"  # an HTML body; free
    UNAVAILABLE = "503"  # free
    DEADLINE = "504"  # free
    REQUEST_TIMEOUT = "408"  # free
    CONFLICT = "409"  # free
    HANG = "hang"  # [SECONDS]; no byte, then the connection ends; never generates, free

    # Of the account or the model, not of the call; free.
    BAD_KEY = "bad-key"  # the key is not valid (any more)
    FORBIDDEN = "forbidden"  # the key is valid and may not do this
    NO_CREDIT = "no-credit"  # the account has no money left
    BILLING_LIMIT = "billing-limit"  # the account has reached the limit it set itself
    MODEL_GONE = "model-gone"  # there is no such model any more

    REFUSE = "refuse"  # [REASON]; charges the input
    REFUSE_PROMPT = "refuse-prompt"  # [BLOCK_REASON]; no usage, free
    NO_IMAGE = "no-image"  # finishReason NO_IMAGE; charges the input and some text
    TEXT_ONLY = "text-only"  # STOP with words and no picture; charges the input and some text
    CONTINUATION = "continuation"  # finishReason CONTINUATION: ask (and pay) again for the rest; charges so far
    EMPTY = "empty"  # `{}` and no usage; free
    NO_PICTURES = "no-pictures"  # a success with an empty list of pictures and no usage; free
    ERROR_TEXT = "error-text"  # [STATUS]; an error that is a mere text; free
    ERROR_DETAIL = "error-detail"  # [STATUS]; an error called `detail`; free

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
    AS_URL = "as-url"  # the picture's address in the picture's place
    AS_RELATIVE_URL = "as-relative-url"  # the same, without scheme and host
    EMPTY_URL = "empty-url"  # the picture, and an address of no characters beside it
    NO_USAGE = "no-usage"  # a good answer that does not say what was used
    NO_OUTPUT_DETAILS = "no-output-details"  # a good answer that does not split its output tokens

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

    # A job is taken at once, and charged as a picture when it ends, however its receipt reads.
    NO_BODY = "no-body"  # the receipt is empty
    NO_ID = "no-id"  # the receipt does not say under which name the job runs
    FOREIGN_URLS = "foreign-urls"  # the receipt says to ask after the job at another host

    # How a job ends.
    FAILED = "failed"  # [REASON]; free
    CANCELED = "canceled"  # stopped by the vendor; free
    ABORTED = "aborted"  # never started; free
    NSFW = "nsfw"  # a black picture, marked as not safe
    EXTRA_PICTURE = "extra-picture"  # one more than asked for, and charged for it
    SAME_TWICE = "same-twice"  # the first picture's address comes once more
    DATA_URI = "data-uri"  # pictures in place of their addresses
    INTERNAL_URL = "internal-url"  # pictures at an address that only the vendor's own machines may ask

    # Beside whatever the job ends with.
    QUEUED = "queued"  # SECONDS; does not start before
    POLL = "poll"  # FAULT; a look at the job
    RESULT = "result"  # FAULT; a look at what it ended with
    FILE = "file"  # FAULT; a download

    # Of looks and downloads alone.
    NOT_FOUND = "404"
    REDIRECT = "redirect"  # to an address that only the vendor's own machines may ask


FREE = frozenset(
    {
        Fault.RATE_LIMIT,
        Fault.RATE_LIMIT_MS,
        Fault.RATE_LIMIT_DATE,
        Fault.RATE_LIMIT_GARBLED,
        Fault.DAILY_QUOTA,
        Fault.INTERNAL,
        Fault.BAD_GATEWAY,
        Fault.UNAVAILABLE,
        Fault.DEADLINE,
        Fault.REQUEST_TIMEOUT,
        Fault.CONFLICT,
        Fault.HANG,
        Fault.BAD_KEY,
        Fault.FORBIDDEN,
        Fault.NO_CREDIT,
        Fault.BILLING_LIMIT,
        Fault.MODEL_GONE,
        Fault.REFUSE_PROMPT,
        Fault.EMPTY,
        Fault.NO_PICTURES,
        Fault.ERROR_TEXT,
        Fault.ERROR_DETAIL,
        Fault.FAILED,
        Fault.CANCELED,
        Fault.ABORTED,
    }
)
"""Nothing is charged."""

CHARGES_WORDS = frozenset({Fault.NO_IMAGE, Fault.TEXT_ONLY, Fault.CONTINUATION})
"""The input and some text are charged."""

CHARGES_PICTURE = frozenset(Fault) - FREE - CHARGES_WORDS - {Fault.REFUSE}
"""A whole picture is charged."""

GENERATES = frozenset(Fault) - (
    FREE - {Fault.REFUSE_PROMPT, Fault.EMPTY, Fault.NO_PICTURES, Fault.FAILED, Fault.CANCELED}
)
"""Faults that come out of a generation: they take the latency. The others answer at once."""

COMMON = frozenset(
    {
        Fault.OK,
        Fault.SLOW,
        Fault.RATE_LIMIT,
        Fault.RATE_LIMIT_GARBLED,
        Fault.INTERNAL,
        Fault.BAD_GATEWAY,
        Fault.UNAVAILABLE,
        Fault.DEADLINE,
        Fault.HANG,
        Fault.BAD_KEY,
        Fault.FORBIDDEN,
        Fault.NO_CREDIT,
        Fault.MODEL_GONE,
        Fault.CUT,
        Fault.RESET,
        Fault.DRIP_HEADERS,
        Fault.DRIP_BODY,
        Fault.SHORT_BODY,
        Fault.CUT_CHUNK,
        Fault.HALF_BODY,
        Fault.HTML,
        Fault.CALLED_PNG,
        Fault.CALLED_HTML,
        Fault.GZIP_BOMB,
        Fault.NOT_AN_IMAGE,
        Fault.GARBAGE,
        Fault.NO_BYTES,
        Fault.TRUNCATED,
        Fault.HALF_JPEG,
        Fault.JPEG,
        Fault.PIXEL_BOMB,
        Fault.TEXT_BOMB,
        Fault.FRAMES,
        Fault.PADDED,
    }
)
"""What every vendor has; `spoiling` answers most of it in the same way for all."""

OF_ACCOUNT = frozenset({Fault.BAD_KEY, Fault.FORBIDDEN, Fault.NO_CREDIT, Fault.BILLING_LIMIT, Fault.MODEL_GONE})
"""No call goes better before a person has done something about it."""

ASIDES = frozenset({Fault.SLOW, Fault.QUEUED, Fault.POLL, Fault.RESULT, Fault.FILE})
"""Not what a call ends with; they go together with it, and with each other."""

_OF_LOOKS = frozenset(
    {
        Fault.RATE_LIMIT,
        Fault.RATE_LIMIT_DATE,
        Fault.INTERNAL,
        Fault.BAD_GATEWAY,
        Fault.UNAVAILABLE,
        Fault.DEADLINE,
        Fault.HANG,
        Fault.BAD_KEY,
        Fault.FORBIDDEN,
        Fault.NO_CREDIT,
        Fault.NOT_FOUND,
        Fault.NO_BODY,
        Fault.CUT,
        Fault.RESET,
        Fault.DRIP_HEADERS,
        Fault.DRIP_BODY,
        Fault.SHORT_BODY,
        Fault.CUT_CHUNK,
        Fault.HALF_BODY,
        Fault.HTML,
        Fault.CALLED_HTML,
        Fault.GZIP_BOMB,
    }
)
_OF_FILES = frozenset(
    {
        Fault.INTERNAL,
        Fault.BAD_GATEWAY,
        Fault.UNAVAILABLE,
        Fault.FORBIDDEN,
        Fault.NOT_FOUND,
        Fault.REDIRECT,
        Fault.NO_BODY,
        Fault.CUT,
        Fault.RESET,
        Fault.DRIP_HEADERS,
        Fault.DRIP_BODY,
        Fault.SHORT_BODY,
        Fault.CUT_CHUNK,
        Fault.HALF_BODY,
        Fault.HTML,
        Fault.CALLED_HTML,
        Fault.GZIP_BOMB,
    }
)
WITHIN: Mapping[Fault, frozenset[Fault]] = {
    Fault.POLL: _OF_LOOKS,
    Fault.RESULT: _OF_LOOKS,
    Fault.FILE: _OF_FILES,
}
"""What can be scripted behind `poll`, `result` and `file`."""

_SECONDS = {
    Fault.SLOW: None,
    Fault.QUEUED: None,
    Fault.RATE_LIMIT: 2.0,
    Fault.RATE_LIMIT_MS: 2.0,
    Fault.RATE_LIMIT_DATE: 2.0,
    Fault.DAILY_QUOTA: 3600.0,
    Fault.HANG: 600.0,
    Fault.DRIP_HEADERS: 0.3,
    Fault.DRIP_BODY: 0.3,
}
_MEGABYTES = {Fault.GZIP_BOMB: 300, Fault.TEXT_BOMB: 400, Fault.PADDED: 100}
_STATUSES = {Fault.ERROR_TEXT: 500, Fault.ERROR_DETAIL: 422}
_HAVE_REASON = frozenset({Fault.REFUSE, Fault.REFUSE_PROMPT, Fault.FAILED})

_IN_PROMPT = re.compile(r"\[\[\s*sandbox(?:\s+([a-z]+))?\s*:(.*?)\]\]", re.DOTALL)
_LIMIT = re.compile(r"x([1-9]\d{0,5})")
_MEGABYTES_FORM = re.compile(r"[1-9][0-9]{0,2}|1000")
_REASON_FORM = re.compile(r"[A-Z][A-Z_]*")
_ERROR_STATUS_FORM = re.compile(r"[45]\d\d")


class UnknownDirective(ValueError):
    """A script nobody wrote a fault for; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One scripted fault. `limit` None applies to every call, `vendor` None to every vendor; `reason` None is the
    vendor's usual one. `within` is what happens to a look or a download, for those in `WITHIN`."""

    fault: Fault
    seconds: float | None = None
    megabytes: int | None = None
    status: int | None = None
    reason: str | None = None
    limit: int | None = None
    vendor: str | None = None
    within: Directive | None = None

    def __str__(self) -> str:
        seconds = None if self.seconds is None else f"{self.seconds:g}"
        numbers = (str(number) for number in (self.megabytes, self.status) if number is not None)
        within = str(self.within) if self.within else None
        return " ".join(word for word in (self.fault.value, within, seconds, *numbers, self.reason) if word)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRate:
    """`directive` happens to `rate` of the calls, 0..1."""

    directive: Directive
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens to one call. `takes_seconds` None leaves it to the latency. `asides` are what is scripted for its
    job's looks and downloads, for which their limits count."""

    directive: Directive
    takes_seconds: float | None = None
    queued_seconds: float = 0.0
    asides: tuple[Directive, ...] = ()

    @property
    def outcome(self) -> str:
        """The bill's word for it: `ok`, `429 2`, `refuse IMAGE_SAFETY`, …"""
        return str(self.directive)


def prompt_directives(prompt: str) -> tuple[Directive, ...]:
    """Those for every vendor and those for one, in the order written. Raises UnknownDirective."""
    return tuple(
        replace(parse_directive(match.group(2)), vendor=match.group(1)) for match in _IN_PROMPT.finditer(prompt)
    )


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
        if directive.limit is not None or directive.fault in ASIDES:
            asides = ", ".join(f"`{each}`" for each in sorted(ASIDES))
            raise ValueError(f"fault rate `{part}`: neither a count nor {asides} works by rate")
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
    seconds, megabytes, status, reason = _SECONDS.get(fault), _MEGABYTES.get(fault), _STATUSES.get(fault), None
    within = None
    match words[1:]:
        case [] if fault in WITHIN:
            raise UnknownDirective(f"sandbox directive `{fault}` needs a fault, as in `{fault} 503`")
        case []:
            if fault in _SECONDS and seconds is None:
                raise UnknownDirective(f"sandbox directive `{fault}` needs its seconds")
        case [first, *_] if fault in WITHIN and first in WITHIN:
            raise UnknownDirective(f"sandbox directive `{fault}` cannot be `{first}`")
        case [*inner] if fault in WITHIN:
            within = parse_directive(" ".join(inner))
            if within.fault not in WITHIN[fault]:
                raise UnknownDirective(f"sandbox directive `{fault}` cannot be `{within.fault}`")
        case [argument] if fault in _SECONDS:
            seconds = _parse_seconds(argument)
        case [argument] if fault in _MEGABYTES and _MEGABYTES_FORM.fullmatch(argument):
            megabytes = int(argument)
        case [argument] if fault in _STATUSES and _ERROR_STATUS_FORM.fullmatch(argument):
            status = int(argument)
        case [argument] if fault in _HAVE_REASON and _REASON_FORM.fullmatch(argument):
            reason = argument
        case _:
            raise UnknownDirective(f"sandbox directive `{text.strip()[:80]}`: wrong argument")
    return Directive(
        fault=fault,
        seconds=seconds,
        megabytes=megabytes,
        status=status,
        reason=reason,
        limit=limit,
        within=within,
    )


def plan_call(
    directives: Sequence[Directive], *, nth: int, rates: Iterable[FaultRate] = (), rng: random.Random
) -> Plan:
    """What happens to the `nth` call (from 1) with this prompt."""
    slow = served([each for each in directives if each.fault is Fault.SLOW], nth)
    queued = served([each for each in directives if each.fault is Fault.QUEUED], nth)
    asides = tuple(each for each in directives if each.fault in WITHIN)
    scripted = [each for each in directives if each.fault not in ASIDES]
    if scripted or asides or not (drawn := _drawn(rates, rng)):
        drawn = served(scripted, nth) or Directive(fault=Fault.OK)
    return Plan(
        directive=drawn,
        takes_seconds=slow.seconds if slow else None,
        queued_seconds=(queued.seconds or 0.0) if queued else 0.0,
        asides=asides,
    )


def served(directives: Sequence[Directive], nth: int) -> Directive | None:
    """The one whose turn it is at the `nth` time (from 1)."""
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
