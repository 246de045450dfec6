"""What the four vendors can do to one call, and what must come of it.

`test_scenarios` plays every row against the sandbox; `scenario_page` makes a page of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from scenario import PICTURE, REFUSAL, Ending, Place, Scenario

from safelight.domain.errors import Billed, ErrorKind, Scope

ALL = ("gemini", "openai", "replicate", "fal")
IN_ONE_CALL, OF_JOBS = ALL[:2], ALL[2:]
GEMINI, OPENAI, REPLICATE, FAL = ((vendor,) for vendor in ALL)

SHORT_SECONDS = 2.0
"""The deadline where a vendor does not answer: time enough to connect on a busy machine."""


def _error(kind: ErrorKind, billed: Billed = Billed.NO, *, is_charged: bool = False, **more: Any) -> Ending:
    return Ending(outcome=kind.value, billed=billed, is_charged=is_charged, **more)


PAID = Ending(outcome=PICTURE, billed=Billed.YES, is_charged=True)
REFUSED_FREE = Ending(outcome=REFUSAL, billed=Billed.NO, is_charged=False)
REFUSED_PAID = Ending(outcome=REFUSAL, billed=Billed.YES, is_charged=True)
REFUSED_WHO_KNOWS = Ending(outcome=REFUSAL, billed=Billed.UNKNOWN, is_charged=False)
LIMITED = _error(ErrorKind.RATE_LIMIT)
FAILED_FREE = _error(ErrorKind.TEMPORARY)
FAILED_PAID = _error(ErrorKind.TEMPORARY, Billed.YES, is_charged=True)
LATE_FREE = _error(ErrorKind.TIMEOUT)
WRONG = _error(ErrorKind.PERMANENT)
NO_CREDIT = _error(ErrorKind.PERMANENT, scope=Scope.ACCOUNT)
LOCKED_OUT = _error(ErrorKind.AUTH_ERROR, scope=Scope.ACCOUNT)
UNEXPLAINED_PAID = _error(ErrorKind.UNKNOWN, Billed.YES, is_charged=True)
USELESS_PAID = _error(ErrorKind.INVALID_OUTPUT, Billed.YES, is_charged=True)
# What nobody knows here, the sandbox knows: whether it charged.
LOST_PAID = _error(ErrorKind.TEMPORARY, Billed.UNKNOWN, is_charged=True)
LOST_FREE = _error(ErrorKind.TEMPORARY, Billed.UNKNOWN)
LOST_IN_TIME_PAID = _error(ErrorKind.TIMEOUT, Billed.UNKNOWN, is_charged=True)
LOST_IN_TIME_FREE = _error(ErrorKind.TIMEOUT, Billed.UNKNOWN)
TOO_LARGE_PAID = _error(ErrorKind.INVALID_OUTPUT, Billed.UNKNOWN, is_charged=True)
GONE_PAID = _error(ErrorKind.UNKNOWN, Billed.UNKNOWN, is_charged=True)

LIMIT_CODES = ("RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED", "HTTP_429", "HTTP_429")


def _at(vendors: tuple[str, ...], what: str, script: str, ending: Ending, *codes: str, **more: Any) -> list[Scenario]:
    """The same at each of these vendors. A code is for all of them, several are theirs in that order."""
    theirs = codes if len(codes) == len(vendors) else [codes[0] if codes else None] * len(vendors)
    return [
        Scenario(vendor=vendor, what=what, script=script, ending=ending, code=code, **more)
        for vendor, code in zip(vendors, theirs, strict=True)
    ]


def _limited(seconds: float | None) -> Ending:
    return replace(LIMITED, wait_seconds=seconds)


def _pictures() -> Iterator[list[Scenario]]:
    yield _at(ALL, "makes the picture", "ok", PAID)
    yield _at(ALL, "takes its time", "slow 0.3", PAID)
    yield _at(GEMINI, "sends a draft, marked as a thought, before the picture", "thought", PAID)
    yield _at(OPENAI, "sends the picture's address", "as-url", PAID)
    yield _at(OPENAI, "sends an address without a host", "as-relative-url", USELESS_PAID, "PICTURE_NOT_FETCHED")
    yield _at(OPENAI, "sends an empty address beside the picture", "empty-url", PAID)
    yield _at(OPENAI, "does not split the tokens that it counted", "no-output-details", PAID)
    yield _at(OPENAI, "does not say what it counted", "no-usage", PAID, is_exact=False)
    yield _at(OF_JOBS, "does not say what it counted", "no-usage", PAID)
    yield _at(OF_JOBS, "makes one picture more, and charges for it", "extra-picture", PAID)
    yield _at(OF_JOBS, "names the same picture twice", "same-twice", PAID)
    yield _at(OF_JOBS, "sends the picture in place of its address", "data-uri", PAID)
    yield _at(OF_JOBS, "sends its own machines' address", "internal-url", USELESS_PAID, "OUTPUT_URL_REFUSED")
    yield _at(ALL, "calls a good answer `image/png`", "called-png", PAID)
    yield _at(ALL, "calls a good answer `text/html`", "called-html", PAID)
    yield _at(ALL, "sends a whole JPEG as a PNG", "jpeg", PAID)
    yield _at(ALL, "sends a comment of 100 MB, compressed, in a PNG", "text-bomb 100", PAID)
    none: dict[str, Any] = {"is_whole": False}
    yield _at(ALL, "sends a JSON error as a PNG", "not-an-image", PAID, **none)
    yield _at(ALL, "sends noise as a PNG", "garbage", PAID, **none)
    yield _at(ALL, "sends half a PNG", "truncated", PAID, **none)
    yield _at(ALL, "sends half a JPEG", "half-jpeg", PAID, **none)
    yield _at(ALL, "sends 200 megapixels in 45 kB", "pixel-bomb", PAID, **none)
    yield _at(ALL, "sends 10 000 frames", "frames", PAID, **none)
    yield _at(OF_JOBS, "sends a PNG of no bytes", "no-bytes", PAID, **none)
    yield _at(IN_ONE_CALL, "sends a PNG of no bytes", "no-bytes", FAILED_PAID, "EMPTY_ANSWER")
    yield _at(IN_ONE_CALL, "sends 100 MB", "padded 100", TOO_LARGE_PAID, "ANSWER_TOO_LARGE")
    yield _at(OF_JOBS, "sends 100 MB", "padded 100", USELESS_PAID, "OUTPUT_UNREADABLE")


def _no_picture() -> Iterator[list[Scenario]]:
    yield _at(GEMINI, "refuses the picture", "refuse", REFUSED_PAID, "IMAGE_SAFETY")
    yield _at(GEMINI, "refuses the picture as a recitation", "refuse RECITATION", REFUSED_PAID, "RECITATION")
    yield _at(GEMINI, "refuses the prompt", "refuse-prompt", REFUSED_FREE, "PROHIBITED_CONTENT")
    yield _at(GEMINI, "refuses in words only", "text-only", REFUSED_PAID, "TEXT_ONLY")
    yield _at(OPENAI, "refuses the picture", "refuse", REFUSED_FREE, "MODERATION_BLOCKED")
    policy = "CONTENT_POLICY_VIOLATION"
    yield _at(OPENAI, "refuses the prompt", f"refuse {policy}", REFUSED_FREE, policy)
    yield _at(OPENAI, "sends an empty list of pictures", "no-pictures", REFUSED_FREE, "EMPTY_DATA")
    yield _at(REPLICATE, "refuses the picture", "refuse", REFUSED_FREE, "FLAGGED")
    yield _at(REPLICATE, "refuses the prompt", "refuse-prompt", REFUSED_FREE, "FLAGGED")
    yield _at(REPLICATE, "succeeds without a picture", "no-pictures", REFUSED_FREE, "EMPTY_OUTPUT")
    yield _at(FAL, "refuses the picture", "refuse", REFUSED_WHO_KNOWS, policy)
    yield _at(FAL, "refuses the prompt", "refuse-prompt", REFUSED_WHO_KNOWS, policy)
    yield _at(FAL, "blackens the picture", "nsfw", REFUSED_PAID, "NSFW")
    useless_free = replace(USELESS_PAID, billed=Billed.NO, is_charged=False)
    yield _at(FAL, "succeeds without a picture", "no-pictures", useless_free, "EMPTY_ANSWER")
    yield _at(GEMINI, "finds no picture", "no-image", FAILED_PAID, "NO_IMAGE")
    yield _at(GEMINI, "ends for another reason", "refuse OTHER", FAILED_PAID, "OTHER")
    wrong_paid = replace(FAILED_PAID, outcome=ErrorKind.PERMANENT.value)
    yield _at(GEMINI, "runs out of tokens", "refuse MAX_TOKENS", wrong_paid, "MAX_TOKENS")
    locked_out_paid = replace(LOCKED_OUT, billed=Billed.YES, is_charged=True)
    limited = "PUP_LIMITED_DISABLED"
    yield _at(GEMINI, "has limited what the account may do", f"refuse {limited}", locked_out_paid, limited)
    yield _at(GEMINI, "ends for a reason of tomorrow", "refuse MOON_PHASE", UNEXPLAINED_PAID, "MOON_PHASE")
    yield _at(GEMINI, "wants to be paid again for the rest", "continuation", UNEXPLAINED_PAID, "CONTINUATION")
    yield _at(IN_ONE_CALL, "sends `{}`", "empty", LOST_FREE, "EMPTY_ANSWER")
    yield _at(REPLICATE, "fails at the job", "failed", _error(ErrorKind.UNKNOWN), "FAILED")
    yield _at(REPLICATE, "runs out of time at the job", "failed TIMED_OUT", LATE_FREE, "TIMED_OUT")
    for what, word in (
        ("loses its runner", "RUNNER_DISCONNECTED"),
        ("fails at the job", "INTERNAL_SERVER_ERROR"),
        ("needs another service, which fails", "DOWNSTREAM_SERVICE_UNAVAILABLE"),
    ):
        yield _at(FAL, what, f"failed {word}", FAILED_FREE, word)
    yield _at(FAL, "runs out of time at the job", "failed GENERATION_TIMEOUT", LATE_FREE, "GENERATION_TIMEOUT")
    wrong_who_knows = replace(WRONG, billed=Billed.UNKNOWN)
    yield _at(
        FAL, "finds the input wrong at the job", "failed NO_MEDIA_GENERATED", wrong_who_knows, "NO_MEDIA_GENERATED"
    )
    yield _at(OF_JOBS, "never starts the job", "aborted", LATE_FREE, "ABORTED", "REQUEST_TIMEOUT")
    yield _at(OF_JOBS, "ends the job as canceled", "canceled", LOST_FREE, "CANCELED")


def _not_sent() -> Iterator[list[Scenario]]:
    none: dict[str, Any] = {"requests": 0}
    yield _at(ALL, "cannot be reached", "", FAILED_FREE, "CONNECT_FAILED", place=Place.DEAF, **none)
    yield _at(ALL, "has no address", "", FAILED_FREE, "CONNECT_FAILED", place=Place.NOWHERE, **none)
    yield _at(ALL, "is asked after the deadline", "", LATE_FREE, "NOT_SENT", within_seconds=0.0, **none)
    yield _at(ALL, "never had such a model", "", WRONG, "UNKNOWN_MODEL", asked={"model": "no-such-model"}, **none)
    for vendor, model in ((GEMINI, "gemini-2.5-flash-image"), (OPENAI, "gpt-image-1")):
        yield _at(vendor, "has switched the model off", "", WRONG, "MODEL_RETIRED", asked={"model": model}, **none)
    yield _at(ALL, "has no such size", "", WRONG, "UNSUPPORTED_OPTION", asked={"size": "17x17"}, **none)


def _said_no() -> Iterator[list[Scenario]]:
    yield _at(ALL, "limits the rate", "429 2", _limited(2), *LIMIT_CODES)
    yield _at(ALL, "limits the rate for a day", "429 86400", _limited(3600), *LIMIT_CODES)
    yield _at(ALL, "limits the rate for no time", "429 0", _limited(1), *LIMIT_CODES)
    yield _at(ALL, "limits the rate and says `soon`", "429-garbled", _limited(None), *LIMIT_CODES)
    yield _at(ALL[1:], "limits the rate until a date", "429-date 30", _limited(30), *LIMIT_CODES[1:])
    yield _at(OPENAI, "limits the rate, in milliseconds", "429-ms 2.5", _limited(2.5), "RATE_LIMIT_EXCEEDED")
    yield _at(OPENAI, "limits the rate in words of its own", "error-text 429", _limited(None), "HTTP_429")
    daily = replace(_limited(3600), scope=Scope.ACCOUNT)
    yield _at(GEMINI, "has a quota of the day, which is used up", "429-per-day 3600", daily, "DAILY_QUOTA")

    refused = ("PERMISSION_DENIED", "INVALID_REQUEST_ERROR", "HTTP_403", "HTTP_403")
    unknown = ("API_KEY_INVALID", "INVALID_API_KEY", "HTTP_401", "HTTP_401")
    yield _at(ALL, "is given a bad key", "", LOCKED_OUT, *unknown, api_key="bad-key")
    yield _at(ALL, "finds the key bad of late", "bad-key", LOCKED_OUT, *unknown)
    yield _at(ALL, "does not let the key do this", "forbidden", LOCKED_OUT, *refused)
    yield _at(GEMINI, "wants billing to be enabled", "no-credit", LOCKED_OUT, "PERMISSION_DENIED")
    yield _at(OPENAI, "finds no credit left", "no-credit", NO_CREDIT, "INSUFFICIENT_QUOTA")
    yield _at(OF_JOBS, "finds no credit left", "no-credit", NO_CREDIT, "NO_CREDIT")
    yield _at(OPENAI, "is at the limit that the account set", "billing-limit", NO_CREDIT, "BILLING_HARD_LIMIT_REACHED")

    wrong = ("INVALID_ARGUMENT", "INVALID_VALUE", "HTTP_422", "VALUE_ERROR")
    gone = ("NOT_FOUND", "MODEL_NOT_FOUND", "HTTP_404", "HTTP_404")
    details = ("HTTP_{}", "HTTP_{}", "VALUE_ERROR")
    yield _at(ALL, "finds the request wrong", "no-such-fault", WRONG, *wrong)
    yield _at(ALL, "has no such model any more", "model-gone", WRONG, *gone)
    for status in ("400", "404", "422"):
        codes = (code.format(status) for code in details)
        yield _at(IN_ONE_CALL, f"says {status} in words of its own", f"error-text {status}", WRONG, f"HTTP_{status}")
        yield _at(ALL[1:], f"says {status} with details", f"error-detail {status}", WRONG, *codes)
    yield _at(OPENAI, "has run into a conflict", "409", FAILED_FREE, "CONFLICT")
    yield _at(GEMINI, "has run into a conflict", "error-text 409", WRONG, "HTTP_409")
    yield _at(OF_JOBS, "has run into a conflict", "error-detail 409", WRONG, "HTTP_409", "VALUE_ERROR")
    yield _at(GEMINI, "is tired of waiting for the request", "error-text 408", LATE_FREE, "HTTP_408")
    yield _at(OPENAI, "is tired of waiting for the request", "408", LATE_FREE, "TIMEOUT")
    yield _at(OF_JOBS, "is tired of waiting for the request", "error-detail 408", LATE_FREE, "HTTP_408", "VALUE_ERROR")

    failed = ("INTERNAL", "SERVER_ERROR", "HTTP_500", "INTERNAL_ERROR")
    overloaded = ("UNAVAILABLE", "SERVER_ERROR", "HTTP_503", "RUNNER_SCHEDULING_FAILURE")
    late = ("DEADLINE_EXCEEDED", "SERVER_ERROR", "HTTP_504", "STARTUP_TIMEOUT")
    yield _at(ALL, "fails", "500", FAILED_FREE, *failed)
    yield _at(IN_ONE_CALL, "fails in words of its own", "error-text 500", FAILED_FREE, "HTTP_500")
    yield _at(ALL, "is behind a gateway that fails, with a page", "502", FAILED_FREE, "HTTP_502")
    yield _at(ALL, "is overloaded", "503", FAILED_FREE, *overloaded)
    yield _at(ALL, "runs out of its own time", "504", LOST_IN_TIME_FREE, *late)


def _answer_lost() -> Iterator[list[Scenario]]:
    short: dict[str, Any] = {"within_seconds": SHORT_SECONDS}
    yield _at(ALL, "never answers", "hang", LOST_IN_TIME_FREE, "TIMEOUT", **short)
    yield _at(ALL, "sends its headers a byte at a time", "drip-headers", LOST_IN_TIME_PAID, "TIMEOUT", **short)
    yield _at(ALL, "sends its body a byte at a time", "drip-body", LOST_IN_TIME_PAID, "TIMEOUT", **short)
    yield _at(ALL, "ends the connection without a byte", "cut", LOST_PAID, "CONNECTION_LOST")
    yield _at(ALL, "resets the connection", "reset", LOST_PAID, "CONNECTION_LOST")
    yield _at(ALL, "sends half of the length it announced", "short-body", LOST_PAID, "CONNECTION_LOST")
    yield _at(ALL, "stops within a chunk", "cut-chunk", LOST_PAID, "CONNECTION_LOST")
    yield _at(ALL, "compresses 300 MB to a thousandth", "gzip-bomb 300", TOO_LARGE_PAID, "ANSWER_TOO_LARGE")
    yield _at(ALL[:3], "sends half a body of no announced length", "half-body", LOST_PAID, "UNREADABLE_ANSWER")
    yield _at(ALL[:3], "sends a page, with status 200", "html", LOST_PAID, "UNREADABLE_ANSWER")
    yield _at(REPLICATE, "sends an empty receipt", "no-body", LOST_PAID, "UNREADABLE_ANSWER")
    yield _at(FAL, "sends half a receipt, and the job's id in a header", "half-body", PAID)
    yield _at(FAL, "sends a page, and the job's id in a header", "html", PAID)
    yield _at(FAL, "sends an empty receipt, and the job's id in a header", "no-body", PAID)
    yield _at(OF_JOBS, "does not name the job", "no-id", LOST_PAID, "UNREADABLE_ANSWER")


def _job_asked_after() -> Iterator[list[Scenario]]:
    def after(what: str, script: str, *troubles: str, **more: Any) -> list[Scenario]:
        return _at(OF_JOBS, what, script, PAID, troubles=troubles, **more)

    yield after("lets the job wait", "queued 0.3")
    yield after("says to ask at another host, which does not get the key", "foreign-urls")
    yield after("limits the polls", "poll 429 1 x1", "HTTP_429")
    yield after("fails at polls", "poll 500 x2", "HTTP_500", "HTTP_500")
    yield after("is behind a gateway that fails at a poll", "poll 502 x1", "HTTP_502")
    yield after("is overloaded by a poll", "poll 503 x1", "HTTP_503")
    yield after("runs out of time at a poll", "poll 504 x1", "HTTP_504")
    yield after("finds the key bad at a poll", "poll bad-key x1", "HTTP_401")
    yield after("does not let the key ask", "poll forbidden x1", "HTTP_403")
    yield after("finds no credit left at a poll", "poll no-credit x1", "NO_CREDIT")
    yield after("does not answer a poll", "poll hang 0.2 x1", "CONNECTION_LOST")
    yield after("cuts a poll", "poll cut x1", "CONNECTION_LOST")
    yield after("resets a poll", "poll reset x1", "CONNECTION_LOST")
    yield after("sends half of an answer's length to a poll", "poll short-body x1", "CONNECTION_LOST")
    yield after("sends half an answer of no announced length to a poll", "poll half-body x1", "UNREADABLE_ANSWER")
    yield after("sends nothing to a poll", "poll no-body x1", "UNREADABLE_ANSWER")
    yield after("sends a page to a poll", "poll html x1", "UNREADABLE_ANSWER")
    yield after("sends 300 MB to a poll", "poll gzip-bomb 300 x1", "ANSWER_TOO_LARGE")
    yield _at(OF_JOBS, "knows the job no more", "poll 404", GONE_PAID, "REMOTE_JOB_GONE")

    yield after("fails at the result", "result 500 x1", "HTTP_500")
    yield after("is behind a gateway that fails at the result", "result 502 x1", "HTTP_502")
    yield after("cuts the result", "result cut x1", "CONNECTION_LOST")
    yield after("sends a page for the result", "result html x1", "UNREADABLE_ANSWER")
    yield after("sends nothing for the result", "result no-body x1", "UNREADABLE_ANSWER")
    yield _at(OF_JOBS, "keeps the result no longer", "result 404", GONE_PAID, "REMOTE_JOB_GONE")

    yield after("fails at the file", "file 500 x1", "OUTPUT_UNREACHABLE")
    yield after("is overloaded by the file", "file 503 x1", "OUTPUT_UNREACHABLE")
    yield after("cuts the file", "file cut x1", "OUTPUT_UNREACHABLE")
    yield after("resets the file", "file reset x1", "OUTPUT_UNREACHABLE")
    yield after("sends half of the file's length", "file short-body x1", "OUTPUT_UNREACHABLE")
    yield after("stops within a chunk of the file", "file cut-chunk x1", "OUTPUT_UNREACHABLE")
    yield after("calls the file `text/html`", "file called-html")
    yield after("sends half a file of no announced length", "file half-body", is_whole=False)
    yield after("sends a page for the file", "file html", is_whole=False)
    yield after("sends a file of no bytes", "file no-body", is_whole=False)
    yield _at(OF_JOBS, "keeps the file no longer", "file 404", USELESS_PAID, "OUTPUT_GONE")
    yield _at(OF_JOBS, "forbids the file", "file forbidden", USELESS_PAID, "OUTPUT_UNREADABLE")
    yield _at(OF_JOBS, "sends the file's caller elsewhere", "file redirect", USELESS_PAID, "OUTPUT_UNREADABLE")
    yield _at(OF_JOBS, "sends a file of 300 MB", "file gzip-bomb 300", USELESS_PAID, "OUTPUT_UNREADABLE")


SECTIONS: Mapping[str, tuple[Scenario, ...]] = {
    heading: tuple(chain.from_iterable(rows))
    for heading, rows in {
        "It sends a picture, or what it calls one": _pictures(),
        "It says that there is no picture": _no_picture(),
        "It says no": _said_no(),
        "Its answer is lost": _answer_lost(),
        "It is asked after a job": _job_asked_after(),
        "Nothing is sent": _not_sent(),
    }.items()
}

SCENARIOS = tuple(chain.from_iterable(SECTIONS.values()))
